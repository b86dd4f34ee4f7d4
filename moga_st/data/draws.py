"""Random numbers that belong to (seed, index): the same on the CPU, on a GPU and with every version of torch.

They come from a counter-based generator in integer arithmetic, so that any process can draw those of any index without
drawing the others first.
"""

from __future__ import annotations

import functools
import hashlib
import math
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

# splitmix64 (Steele, Lea, Flood 2014): one round of it is a bijection of 64-bit integers that mixes well
# enough for its output over a counter to pass BigCrush. int64 arithmetic wraps, which is what it needs.
_GOLDEN, _MIX1, _MIX2 = (c - (1 << 64) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
Integers = TypeVar("Integers", np.ndarray, Tensor)


def _mix(x: Integers) -> Integers:
    def shift_right(x: Integers, bits: int) -> Integers:  # signed integers are shifted arithmetically
        return (x >> bits) & ((1 << (64 - bits)) - 1)

    x = (x ^ shift_right(x, 30)) * _MIX1
    x = (x ^ shift_right(x, 27)) * _MIX2
    return x ^ shift_right(x, 31)


def _bits(seed: int, index: Integers, counter: Integers) -> Integers:
    """53 random bits for each of ``index`` (b,) and ``counter`` (d,), both int64: (b, d)."""
    start = int(_mix(np.array([seed], np.int64) * _GOLDEN + _MIX2)[0])
    stream = _mix(index * _GOLDEN + start)
    return (_mix(stream[:, None] + counter * _GOLDEN) >> 11) & ((1 << 53) - 1)


def uniform(seed: int, index: Tensor, draws: int) -> Tensor:
    """Counter-based uniform numbers: index (b,) int64 -> (b, draws) float64 in [0, 1), 53 random bits."""
    # numpy's calls on so few numbers cost a fraction of torch's, but whoever traces them would find a constant
    if index.device.type == "cpu" and not is_in_torch_dispatch_mode():
        bits = torch.from_numpy(_bits(seed, index.numpy(), np.arange(1, draws + 1, dtype=np.int64)))
    else:
        bits = _bits(seed, index, torch.arange(1, draws + 1, device=index.device))
    return bits.to(torch.float64) * 2.0**-53


def named_uniform(name: str, rows: int, columns: int) -> Tensor:
    """Uniform numbers (rows, columns) float64 in [0, 1) that belong to a name, the same on every machine:
    SHA-256 of the name seeds the counter-based generator."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little", signed=True)
    return uniform(seed, torch.arange(rows), columns)


@functools.cache
def constant(values: tuple, device: torch.device) -> Tensor:
    """Numbers as a tensor, made once a device: a table copied there at every call could not be captured."""
    return torch.tensor(values, device=device)


class Draws:
    """Random numbers for many purposes, each its own stream by its name: pure functions of (seed, index, name).

    ``index`` (b,) numbers what is drawn for; all results are float32 on its device and begin with ``b``.  Nothing waits
    for the device, so drawing can be captured in a CUDA graph.
    """

    def __init__(self, seed: int, index: Tensor):
        self.seed, self.index = seed, index

    def uniform(self, name: str, *shape: int) -> Tensor:
        """In [0, 1): (b, *shape)."""
        digest = hashlib.blake2b(f"{self.seed} {name}".encode(), digest_size=8).digest()
        seed = int.from_bytes(digest, "little", signed=True)
        numbers = uniform(seed, self.index, math.prod(shape)).float().clamp(max=1 - 2**-24)  # rounding may give 1
        return numbers.view(len(self.index), *shape)

    def between(self, name: str, low: float, high: float, *shape: int) -> Tensor:
        """Uniform between two numbers."""
        return low + (high - low) * self.uniform(name, *shape)

    def log_between(self, name: str, low: float, high: float, *shape: int) -> Tensor:
        """Between two positive numbers, every ratio as likely as any other of its size."""
        return self.between(name, math.log(low), math.log(high), *shape).exp()

    def chance(self, name: str, p: float, *shape: int) -> Tensor:
        """True with probability ``p``."""
        return self.uniform(name, *shape) < p

    def normal(self, name: str, *shape: int) -> Tensor:
        """Of mean 0 and variance 1, by Box and Muller."""
        u = self.uniform(name, *shape, 2)
        return (-2 * (1 - u[..., 0]).log()).sqrt() * (2 * math.pi * u[..., 1]).cos()
