"""Seconds and memory of steps, and the least time that they could take."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from tqdm import tqdm

from moga_st.engine.update import Update

Steps = Mapping[str, Callable[[], object]]  # what to time, by name
WARM_UP = {"cpu": 2, "cuda": Update.EAGER + 2}  # untimed calls of each variant: until a graph has been replayed


@dataclass(frozen=True)
class Ceilings:
    """What the device can do, measured: the two lines of a roofline (Williams, Waterman, Patterson 2009)."""

    flops: float
    """Floating-point operations a second of a large matrix product."""
    bytes: float
    """Bytes a second that a large copy reads and writes."""


def ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """Best of ten products of square matrices, and of ten copies of a block no cache holds."""
    n, size = (8192, 1 << 30) if device.type == "cuda" else (2048, 1 << 28)
    # random: a product of ones takes less power, and so runs faster, than any of real numbers
    a, block = torch.randn(n, n, dtype=dtype, device=device), torch.ones(size, dtype=torch.uint8, device=device)
    out, copy_of_block = torch.empty_like(a), torch.empty_like(block)

    def best(step: Callable[[], object]) -> float:
        step()
        return min(seconds(step, device) for _ in range(10))

    return Ceilings(
        2 * n**3 / best(lambda: torch.matmul(a, a, out=out)), 2 * size / best(lambda: copy_of_block.copy_(block))
    )


class Roofline(TorchDispatchMode):
    """The least time of what runs under it, in ``seconds``: for every convolution and matrix product, forward and
    backward, the longer of its arithmetic and of moving its inputs and outputs once.  All else, being pointwise or
    a reduction, could be fused into these and counts as nothing."""

    def __init__(self, ceilings: Ceilings):
        super().__init__()
        self.ceilings, self.seconds, self.flops, self.bytes = ceilings, 0.0, 0, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet is torch.ops.aten.convolution_backward:
            # of input and weight, each as much as the forward pass (torch's own count forgets the groups)
            grad, weight, wanted = args[0], args[2], args[-1]
            flops = 2 * grad.numel() * weight[0].numel() * sum(wanted[:2])
        elif packet in flop_registry:
            flops = flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        else:
            return out
        moved = sum(x.nbytes for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor))
        self.flops += flops
        self.bytes += moved
        self.seconds += max(flops / self.ceilings.flops, moved / self.ceilings.bytes)
        return out


def measure(steps: Steps, repeats: int, device: torch.device) -> dict[str, tuple[float, float]]:
    """Of each step the median seconds, taken in turn after calls to warm up, and the peak memory of those calls; with a
    progress bar on stderr.

    (A captured graph takes its memory once, before the calls that are timed.)
    """
    peaks = {}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    with tqdm(total=len(steps) * (1 + repeats), leave=False) as bar:
        for name, step in steps.items():
            bar.set_description(f"{name}, warming up (a compiled one is compiled)")
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            for _ in range(WARM_UP[device.type]):
                step()
            peaks[name] = peak_memory(device)
            bar.update()
        for _ in range(repeats):
            for name, step in steps.items():
                bar.set_description(name)
                taken[name].append(seconds(step, device))
                bar.update()
    return {name: (statistics.median(values), peaks[name]) for name, values in taken.items()}


def least(roofline: Roofline) -> dict[str, float]:
    top = roofline.ceilings
    return {
        "ms": roofline.seconds * 1e3,
        "GFLOP": roofline.flops / 1e9,
        "GB": roofline.bytes / 1e9,
        "TFLOP/s at most": top.flops / 1e12,
        "GB/s at most": top.bytes / 1e9,
    }


def timed(what: str, size: int, seconds: float) -> dict[str, Any]:
    return {"what": what, "batch": size, "ms": seconds * 1e3, "samples/s": size / seconds}


def peak_memory(device: torch.device) -> float:
    """Peak MB of the process: on CUDA since the last reset, other variants' networks included; on the CPU so far; NaN
    where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        import resource  # Windows has none
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def seconds(step: Callable[[], object], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    step()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
