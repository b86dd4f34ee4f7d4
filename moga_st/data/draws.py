"""Random numbers that belong to (seed, index): the same on the CPU, on a GPU and with every version of torch.

They come from a counter-based generator in integer arithmetic, so that any process can draw those of any index without
drawing the others first.
"""

from __future__ import annotations

import functools
import hashlib
import math

import numpy as np
import torch
from torch import Tensor

# splitmix64 (Steele, Lea, Flood 2014): one round of it is a bijection of 64-bit integers that mixes well
# enough for its output over a counter to pass BigCrush. It needs arithmetic that wraps, which int64 and uint64 do.
_GOLDEN, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WRAP = (1 << 64) - 1


def uniform(seed: int, index: Tensor, draws: int) -> Tensor:
    """Counter-based uniform numbers: index (b,) int64 -> (b, draws) float64 in [0, 1), 53 random bits."""
    start = _mix_number((seed * _GOLDEN + _MIX2) & _WRAP)
    if index.device.type == "cpu":  # numpy's calls on so few numbers cost a fraction of torch's
        return torch.from_numpy(_uniform_numpy(start, index.numpy(), draws))
    return _uniform_torch(start, index, draws)


def _uniform_numpy(start: int, index: np.ndarray, draws: int) -> np.ndarray:
    golden = np.uint64(_GOLDEN)
    stream = _mix_numpy(index.astype(np.uint64) * golden + np.uint64(start))
    bits = _mix_numpy(stream[:, None] + np.arange(1, draws + 1, dtype=np.uint64) * golden)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _uniform_torch(start: int, index: Tensor, draws: int) -> Tensor:
    golden = _signed(_GOLDEN)
    stream = _mix_torch(index * golden + _signed(start))
    bits = _mix_torch(stream[:, None] + torch.arange(1, draws + 1, device=index.device) * golden)
    return ((bits >> 11) & ((1 << 53) - 1)).to(torch.float64) * 2.0**-53


def _signed(x: int) -> int:
    return x - (1 << 64) if x >> 63 else x


def _mix_number(x: int) -> int:
    x = (x ^ (x >> 30)) * _MIX1 & _WRAP
    x = (x ^ (x >> 27)) * _MIX2 & _WRAP
    return x ^ (x >> 31)


def _mix_numpy(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX2)
    return x ^ (x >> np.uint64(31))


def _mix_torch(x: Tensor) -> Tensor:
    def shift_right(x: Tensor, bits: int) -> Tensor:  # torch shifts signed integers arithmetically
        return (x >> bits) & ((1 << (64 - bits)) - 1)

    x = (x ^ shift_right(x, 30)) * _signed(_MIX1)
    x = (x ^ shift_right(x, 27)) * _signed(_MIX2)
    return x ^ shift_right(x, 31)


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
