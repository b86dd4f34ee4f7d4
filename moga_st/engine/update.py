"""One update of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map_only

from moga_st import optim
from moga_st.device import autocast
from moga_st.engine.config import RunConfig, Runtime
from moga_st.shards import Shards
from moga_st.tasks.task import Task


class Update:
    """One update: data, forward, backward, clipping, optimiser and weight average.

    It does not wait for the device. What changes from one update to the next (its number, the learning rate, the
    decays) comes to the device in tensors where ``runtime.cuda_graph`` is on, so that the launches of one update,
    captured once, are those of every other.

    Args:
        net, called: the network, and what is called in its place (the same, wrapped for other processes).
        average: the weight average, or ``net`` itself where there is none.
        group: shards that compute each batch, of a network that ``kernels.sharded.prepare`` has seen.
    """

    EAGER = 3  # updates before the capture: what torch sets up at first use must not be in the graph

    def __init__(
        self,
        config: RunConfig,
        task: Task,
        net: nn.Module,
        called: nn.Module,
        average: nn.Module,
        optimiser: torch.optim.Optimizer,
        runtime: Runtime,
        group: Shards | None = None,
    ):
        device = next(net.parameters()).device
        self.config, self.task, self.net, self.average, self.optimiser = config, task, net, average, optimiser
        self.group = group
        self.ddp = called if isinstance(called, nn.parallel.DistributedDataParallel) else None
        self.called: Any = torch.compile(called) if runtime.compile else called
        self.lr = 0.0
        self.loss_sum = torch.zeros((), device=device)
        self.bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        """First update whose loss was not finite, or -1: read only where we wait anyway."""
        self._number = torch.zeros((), dtype=torch.int64, device=device)
        self._rate: float | torch.Tensor = torch.zeros((), device=device) if runtime.cuda_graph else 0.0
        # torch's uncompiled optimisers take a changing beta from the host; a compiled one reads it on the device
        self._optimise: Any = torch.compile(optimiser.step) if runtime.cuda_graph else optimiser.step
        self._eager_left = self.EAGER
        self._fetched: list[Any] = [None] * config.accumulate
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream(device) if runtime.cuda_graph else None

    def __call__(self, number: int, fetched: Sequence[Any]) -> None:
        """Run update ``number`` (from 0) on what ``Task.fetch`` gave for each of its parts."""
        optimiser, config = self.optimiser, self.config
        self.lr, beta1 = optim.schedule(config.optim, number, config.steps)
        optim.set_schedule(optimiser, self.lr, beta1)
        rate = optim.average_rate(config.optim.ema_decay, number)
        self._rate = self._rate.fill_(rate) if isinstance(self._rate, torch.Tensor) else rate
        self._number.fill_(number)
        torch.manual_seed(seed_of(config.seed, number))
        self._bring(fetched)
        if self._stream is None:
            self.body()
        elif self._eager_left:
            self._eager_left -= 1
            with on_stream(self._stream):  # the capture's: autograd remembers the one that a weight was first used on
                self.body()
        else:
            if self._graph is None:
                self._graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self._graph, stream=self._stream):
                    self.body()
            self._graph.replay()

    def _bring(self, fetched: Sequence[Any]) -> None:
        """Take what was read from a disk to the device: under a CUDA graph, to where the captured update looks for
        it."""
        device = self._number.device
        if self._graph is None:
            self._fetched = tree_map_only(torch.Tensor, lambda x: x.to(device, non_blocking=True), list(fetched))
        else:
            for old, new in zip(tree_leaves(self._fetched), tree_leaves(list(fetched)), strict=True):
                if isinstance(new, torch.Tensor):
                    old.copy_(new, non_blocking=True)

    def body(self) -> None:
        """What is captured: no branch, number or address in it depends on which update it is."""
        config = self.config
        for part in range(config.accumulate):
            last = part == config.accumulate - 1
            # gradients travel between processes once an update
            with nullcontext() if last or self.ddp is None else self.ddp.no_sync():
                loss = self._gradients(part, self._fetched[part])
            bad = (self.bad_step < 0) & ~torch.isfinite(loss)
            self.bad_step.copy_(torch.where(bad, self._number, self.bad_step))
            self.loss_sum += loss
        if config.optim.clip_norm:
            nn.utils.clip_grad_norm_(self.net.parameters(), config.optim.clip_norm)
        self._optimise()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not self.net:
            optim.update_average(self.average, self.net, self._rate)

    def _gradients(self, part: int, fetched: Any) -> torch.Tensor:
        """Add a part's share of the gradients; returns its loss."""
        config, device = self.config, self._number.device

        def loss_of(batch: Any) -> torch.Tensor:
            with autocast(config.precision, device):  # a thread's own, so inside
                return self.task.loss(self.called, batch, self._number)

        with autocast(config.precision, device):
            batch = self.task.batch(self._number * config.accumulate + part, fetched)
        if self.group is None:
            loss = loss_of(batch)
            (loss / config.accumulate).backward()
            return loss.detach()
        parameters = [p for p in self.net.parameters() if p.requires_grad]
        loss, gradients = self.group.gradients(loss_of, batch, parameters)
        for p, g in zip(parameters, gradients, strict=True):
            if g is not None:
                g = g / config.accumulate if config.accumulate > 1 else g
                p.grad = g if p.grad is None else p.grad.add_(g)
        return loss


@contextmanager
def on_stream(stream: torch.cuda.Stream) -> Iterator[None]:
    """Work on ``stream``, after all that was asked for before and before all that is asked for after."""
    outside = torch.cuda.current_stream(stream.device)
    stream.wait_stream(outside)
    with torch.cuda.stream(stream):
        yield
    outside.wait_stream(stream)


def seed_of(seed: int, index: int) -> int:
    """A generator seed for update ``index`` of the run.  Hashed, since torch's CPU generator uses 32 bits of it."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {index}".encode(), digest_size=4).digest(), "little")
