"""Optimiser, parameter groups, schedules as pure functions of the step, and the weight average."""
# pyright: reportPrivateImportUsage=false
# (torch._foreach_* is what torch's own optimisers are made of)

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from moga_st.config import Config
from moga_st.errors import BadInput
from moga_st.shards import Shards


@dataclass(frozen=True)
class OptimConfig(Config, kind="optim"):
    """Adam, AdamW or Muon and a schedule."""

    algorithm: Literal["adam", "adamw", "muon", "lamb"] = "adam"
    """Update rule. muon moves matrices (weights of linear layers, and of convolutions without groups, of more than one
    output) by orthogonalised momentum and everything else as adamw does; lamb is timm's (arXiv 1904.00962; extra
    `images`). Weight decay is decoupled, and refused in adam, which has none."""
    lr: float = 1e-3
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Moment decays. OneCycle overrides the first: it cycles against the learning rate (0.95, 0.85, 0.95). Muon's
    matrices have 0.95 always."""
    weight_decay: float = 0.0
    """Decoupled weight decay of convolution and linear weights; biases, norms and scales have none."""
    schedule: Literal["onecycle", "cosine", "constant"] = "onecycle"
    """OneCycle (Smith, Topin 2019, torch's defaults with final_div_factor 1e4) or cosine to `min_lr`."""
    min_lr: float = 0.0
    """Learning rate that cosine ends at."""
    warmup: float = 0.0
    """Share of all steps with linear warm-up (cosine and constant)."""
    clip_norm: float = 0.0
    """Largest norm of the gradient of all parameters together; 0 for no clipping."""
    ema_decay: float = 0.0
    """Decay of the exponential moving average of the weights that is evaluated and exported; 0 for none."""

    def __post_init__(self) -> None:
        shares = {"ema_decay": self.ema_decay, "warmup": self.warmup, "betas": max(self.betas)}
        for name, value in shares.items():
            if not 0 <= value < 1:
                raise BadInput(f"optim.{name}: expected a value in [0, 1), got {value}")
        if not (self.lr > 0 and self.clip_norm >= 0 and self.weight_decay >= 0):
            raise BadInput("optim: lr must be positive, clip_norm and weight_decay not negative")
        if not 0 <= self.min_lr <= self.lr or (self.min_lr and self.schedule != "cosine"):
            raise BadInput(f"optim.min_lr: expected 0 to lr, and 0 unless the schedule is cosine, got {self.min_lr}")
        if self.algorithm == "adam" and self.weight_decay:
            raise BadInput("optim.weight_decay: Adam has none; take adamw")


class Muon(torch.optim.AdamW):
    """Orthogonalised momentum (Jordan 2024) for the groups with ``matrices`` true, AdamW for the others.

    A matrix W (n, m) of gradient G, M <- 0.95 M + 0.05 G, moves by -lr (0.2 sqrt(max(n, m)) O + weight_decay W),
    where O is 0.05 G + 0.95 M with all its singular values brought near 1.  The factor gives that the root mean
    square 0.2, which AdamW's updates have too (arXiv 2502.16982, equation 4), so that one learning rate serves both.
    torch.optim.Muon with ``adjust_lr_fn="match_rms_adamw"`` does the same; this one takes the weights of convolutions
    too, as matrices (out, in k k), and all matrices of a shape at once.

    ``step`` takes the matrices' gradients: they are None after it.
    """

    MOMENTUM = 0.95
    shards: Shards | None = None
    """Threads that share the matrices out."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        torch.optim.Optimizer.__setstate__(self, state)  # Adam's own asks every state for its number of steps

    def step(self) -> None:  # type: ignore[override]
        self.move_matrices()
        super().step()

    # it would be compiled anew as gradients come and go, which a capture forbids; torch.compiler.disable does the same,
    # but imports the compiler at once, which takes longer than all else that a short command imports
    @_disable_dynamo
    @torch.no_grad()
    def move_matrices(self) -> None:
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None] if group["matrices"] else []
            if not params:
                continue
            for p in params:
                if "momentum" not in self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            momenta, gradients = [self.state[p]["momentum"] for p in params], [p.grad for p in params]
            torch._foreach_lerp_(momenta, gradients, 1 - self.MOMENTUM)
            directions = torch._foreach_lerp(gradients, momenta, self.MOMENTUM)
            of_shape: dict[torch.Size, list[int]] = defaultdict(list)
            for i, p in enumerate(params):
                p.grad = None  # AdamW has nothing left to do here
                of_shape[directions[i].flatten(1).shape].append(i)
            if group["weight_decay"]:
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            stacks = [torch.stack([directions[i].flatten(1) for i in members]) for members in of_shape.values()]
            orthogonal = orthogonalise_all(stacks, self.shards)
            for ((n, m), members), moves in zip(of_shape.items(), orthogonal, strict=True):
                moves *= group["lr"] * 0.2 * math.sqrt(max(n, m))
                moved = [params[i] for i in members]
                torch._foreach_sub_(moved, [move.view_as(p) for move, p in zip(moves, moved, strict=True)])


def orthogonalise_all(stacks: list[Tensor], shards: Shards | None) -> list[Tensor]:
    """:func:`orthogonalise` of each, the matrices dealt out in turn to the threads of ``shards``."""
    if shards is None:
        return [orthogonalise(x) for x in stacks]
    count, dealt = shards.count, 0
    hands: list[list[tuple[int, int]]] = [[] for _ in range(count)]  # a stack's number, and the first matrix of it
    for i, x in enumerate(stacks):
        for first in range(min(count, len(x))):
            hands[(dealt + first) % count].append((i, first))
        dealt += len(x)
    results = [torch.empty_like(x) for x in stacks]

    def work(hand: list[tuple[int, int]]) -> None:
        for i, first in hand:
            results[i][first::count] = orthogonalise(stacks[i][first::count])

    shards.run(torch.no_grad()(work), hands)
    return results


def orthogonalise(x: Tensor) -> Tensor:
    """Matrices (b, n, m) -> the same with singular values in 0.7 to 1.2, by five Newton-Schulz steps (Jordan 2024).

    Those below about 1/600 of the Frobenius norm stay smaller.  In bfloat16 on a GPU: the steps forgive it.
    """
    dtype = x.dtype
    x = x.bfloat16() if x.is_cuda else x
    wide = x.shape[1] <= x.shape[2]
    x = x if wide else x.mT
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x if wide else x.mT).to(dtype)


def build(
    net: nn.Module, config: OptimConfig, on_device: bool = False, shards: Shards | None = None
) -> torch.optim.Optimizer:
    """The optimiser over ``net``'s parameters in groups: with and without weight decay, and Muon's matrices.

    ``on_device``: learning rate and decays are tensors there, and ``step`` is to be compiled (CUDA graphs).
    ``shards``: the threads that compute the gradients; here they share out Muon's matrices.
    """
    layers = [m for m in net.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    decayed = {id(m.weight) for m in layers}  # everything else is a bias, a norm or a scale
    matrices = {id(m.weight) for m in layers if getattr(m, "groups", 1) == 1 and len(m.weight) > 1}
    matrices = matrices if config.algorithm == "muon" else set()
    split: dict[tuple[bool, bool], list[nn.Parameter]] = defaultdict(list)
    for p in net.parameters():
        split[id(p) not in decayed, id(p) in matrices].append(p)
    groups: list[dict[str, Any]] = [
        {"params": split[key], "weight_decay": 0.0 if key[0] else config.weight_decay, "matrices": key[1]}
        for key in sorted(split)
    ]
    if config.algorithm == "lamb":
        return _lamb(groups, config, on_device)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "muon": Muon}[config.algorithm]
    device = next(net.parameters()).device
    if not on_device:
        fused = device.type == "cuda" or shards is not None
        made = kind(groups, lr=config.lr, betas=config.betas, fused=fused)
        if isinstance(made, Muon):
            made.shards = shards
        return made
    for group in groups:  # torch's own constructor would make plain numbers of the betas
        group["lr"] = torch.tensor(config.lr, device=device)
        group["betas"] = tuple(torch.tensor(beta, device=device) for beta in config.betas)
    return kind(groups, capturable=True, foreach=True)


def _lamb(groups: list[dict[str, Any]], config: OptimConfig, on_device: bool) -> torch.optim.Optimizer:
    if on_device:
        raise BadInput("optim.algorithm lamb: it cannot be captured as a CUDA graph; leave cuda_graph out")
    try:
        from timm.optim.lamb import Lamb
    except ImportError as error:
        raise BadInput("optim.algorithm lamb: timm is not installed; pip install 'moga-st[images]'") from error
    return Lamb(groups, lr=config.lr, betas=config.betas)


def set_schedule(optimiser: torch.optim.Optimizer, lr: float, beta1: float) -> None:
    """Learning rate and first moment decay of the next update, without waiting for the device."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
            group["betas"][0].fill_(beta1)
        else:
            group["lr"], group["betas"] = lr, (beta1, group["betas"][1])


def schedule(config: OptimConfig, step: int, steps: int) -> tuple[float, float]:
    """Learning rate and first moment decay of update ``step`` (from 0) of ``steps``."""
    if config.schedule == "onecycle":
        return _one_cycle(config.lr, step, steps)
    warm = max(1, round(config.warmup * steps)) if config.warmup else 0
    if step < warm:
        return config.lr * (step + 1) / warm, config.betas[0]
    if config.schedule == "constant":
        return config.lr, config.betas[0]
    progress = (step - warm) / max(1, steps - warm)
    return _cosine(config.lr, config.min_lr, progress), config.betas[0]


def _one_cycle(lr: float, step: int, steps: int) -> tuple[float, float]:
    """torch.optim.lr_scheduler.OneCycleLR in closed form: up over 30 % of the steps, then down."""
    start, end = lr / 25.0, lr / 25.0 / 1e4
    turn, last = 0.3 * steps - 1, steps - 1.0
    if step <= turn:
        progress = step / turn if turn > 0 else 1.0
        return _cosine(start, lr, progress), _cosine(0.95, 0.85, progress)
    progress = (step - turn) / (last - turn) if last > turn else 1.0
    return _cosine(lr, end, progress), _cosine(0.85, 0.95, progress)


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * progress))


def average_rate(decay: float, step: int) -> float:
    """How far the average moves towards the weights after update ``step`` (from 0): 1 - decay in the end.

    The decay starts low, min(decay, (1 + step) / (10 + step)), so that the random start is forgotten.
    """
    return 1.0 - min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(average: nn.Module, net: nn.Module, rate: float | Tensor) -> None:
    """``average`` <- (1 - rate) ``average`` + rate ``net``.

    Running statistics are averaged like weights; counters are copied.
    """
    # one kernel for all tensors, as torch's own swa_utils has it; its lerp takes no rate from the device
    pairs = list(zip(_tensors(average), _tensors(net), strict=True))
    averages, weights = zip(*((a, b) for a, b in pairs if a.is_floating_point()), strict=True)
    moves = torch._foreach_sub(weights, averages)
    torch._foreach_mul_(moves, rate)
    torch._foreach_add_(averages, moves)
    counters = [(a, b) for a, b in pairs if not a.is_floating_point()]
    if counters:
        torch._foreach_copy_([a for a, _ in counters], [b for _, b in counters])


def _tensors(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]
