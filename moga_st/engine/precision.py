"""Which precision ``auto`` is on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from moga_st import dist
from moga_st.device import has_amx, multiplies_bfloat16

TRIALS = 3


def choose(wanted: str, device: torch.device, step: Callable[[str], object]) -> str:
    """``wanted``, or for "auto" bfloat16 where the hardware multiplies it, torch does so safely (:func:`has_amx`), and
    ``step("bfloat16")`` is faster than ``step("float32")``: the best of a few calls in turn, on the slowest rank."""
    if wanted != "auto":
        return wanted
    if dist.max_over_ranks(float(has_amx(device) or not multiplies_bfloat16(device)), device):
        return "float32"
    best = {"float32": float("inf"), "bfloat16": float("inf")}
    for trial in range(1 + TRIALS):
        for precision in best:
            seconds = dist.max_over_ranks(_seconds(lambda precision=precision: step(precision), device), device)
            if trial:  # the first is to warm up
                best[precision] = min(best[precision], seconds)
    return min(best, key=lambda precision: best[precision])


def _seconds(step: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
