"""Where a network's parameters, operations and time are."""

from __future__ import annotations

import copy
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


class Layer(NamedTuple):
    """A part of a network with all that is in it."""

    name: str
    """As ``named_modules`` has it; "PART (itself)" is what a part does outside its own parts."""
    kind: str
    shape: tuple[int, ...]
    """Of its last output for one example; empty where that is no tensor, or it was not called by itself."""
    params: int
    macs: int
    """Multiply-adds of convolutions and matrix products."""
    ms: float
    """Median time of its forward pass; what it calls of a part by hand counts here."""


def layers(net: nn.Module, x: Tensor, depth: int = 2, repeats: int = 5) -> list[Layer]:
    """The parts of a network down to ``depth`` names (``stages.0``, say, is two), in order.  They do not overlap and
    leave nothing out: parameters and operations add up to the network's, and times to that of a pass.

    Args:
        net: in evaluation mode.
        x: one example, (1, ...).
        depth: 1 for the network's own parts.
        repeats: timed passes, after one that is not.
    """
    parts = _parts(net, depth)
    inner = {name for part in parts for name in _above(part)}  # those whose own doings are a row
    names = {*parts, *inner}
    try:  # on no device, since some of a device's own operators are not counted
        counts, shapes = _counts(copy.deepcopy(net).to("meta"), x.to("meta"), names)
    except (RuntimeError, NotImplementedError):  # another package's network may look at its numbers
        counts, shapes = _counts(net, x, names)
    root = type(net).__name__
    macs = {n: sum(counts.get(f"{root}.{n}" if n else root, {}).values()) / 2 for n in names}
    times = _times(net, x, names, repeats)
    below = {name: [n for n in names if n and n.rpartition(".")[0] == name] for name in inner}
    for name in sorted(inner - shapes.keys(), key=len, reverse=True):  # a list of modules, which is not called itself
        macs[name], times[name] = (sum(total[n] for n in below[name]) for total in (macs, times))
    rows: list[Layer] = []
    for name, module in net.named_modules():
        if name not in names:
            continue
        own = name in inner
        row = Layer(
            f"{name or root} (itself)" if own else name,
            type(module).__name__,
            () if own else shapes.get(name) or (),
            sum(p.numel() for p in module.parameters(recurse=not own)),
            round(macs[name] - sum(macs[n] for n in below.get(name, []))),
            times[name] - sum(times[n] for n in below.get(name, [])),
        )
        if not own or row.params or row.macs or row.ms:
            rows.append(row)
    return rows


def _counts(
    net: nn.Module, x: Tensor, names: set[str]
) -> tuple[dict[str, dict[Any, int]], dict[str, tuple[int, ...] | None]]:
    """Operations by module, and the outputs' shapes of the modules that are called by themselves."""
    shapes: dict[str, tuple[int, ...] | None] = {}
    with torch.no_grad(), FlopCounterMode(display=False) as counter, _Watched(net, names, _shape_into(shapes)):
        net(x)
    return counter.get_flop_counts(), shapes


def _parts(net: nn.Module, depth: int) -> list[str]:
    """Names of the modules at ``depth``, or of those above it that have no parts."""
    return [
        name
        for name, module in net.named_modules()
        if name and (name.count(".") + 1 == depth or (name.count(".") + 1 < depth and not any(module.children())))
    ]


def _above(name: str) -> list[str]:
    pieces = name.split(".")
    return [".".join(pieces[:i]) for i in range(len(pieces))]


class _Watched:
    """Inside, ``told(name, output)`` is called after every named module, and with None before it."""

    def __init__(self, net: nn.Module, names: set[str], told: Callable[[str, Any], None]):
        self.modules = [(name, module) for name, module in net.named_modules() if name in names]
        self.told = told

    def __enter__(self) -> None:
        self.hooks = []
        for name, module in self.modules:
            self.hooks.append(module.register_forward_pre_hook(lambda _, __, name=name: self.told(name, None)))
            self.hooks.append(module.register_forward_hook(lambda _, __, out, name=name: self.told(name, out)))

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()


def _shape_into(shapes: dict[str, tuple[int, ...] | None]) -> Callable[[str, Any], None]:
    def note(name: str, out: Any) -> None:
        if out is not None:
            shapes[name] = tuple(out.shape[1:]) if isinstance(out, Tensor) else None

    return note


def _times(net: nn.Module, x: Tensor, names: set[str], repeats: int) -> dict[str, float]:
    """Milliseconds of each module, and of the network ("")."""
    taken: list[dict[str, float]] = []
    begun: dict[str, float] = {}

    def note(name: str, out: Any) -> None:
        if x.is_cuda:
            torch.cuda.synchronize()
        if out is None:
            begun[name] = time.perf_counter()
        else:
            taken[-1][name] += 1000 * (time.perf_counter() - begun[name])

    with torch.no_grad(), _Watched(net, {*names, ""}, note):
        for _ in range(repeats + 1):
            taken.append(defaultdict(float))
            net(x)
    return {name: statistics.median(one[name] for one in taken[1:]) for name in {*names, ""}}
