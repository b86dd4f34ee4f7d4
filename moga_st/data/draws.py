"""Random numbers that belong to (seed, index): the same on the CPU, on a GPU and with every version of torch.

They come from a counter-based generator in integer arithmetic, so that any process can draw those of any index without
drawing the others first.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

# splitmix64 (Steele, Lea, Flood 2014): one round of it is a bijection of 64-bit integers that mixes well
# enough for its output over a counter to pass BigCrush. int64 arithmetic wraps, which is what it needs.
_GOLDEN, _MIX1, _MIX2 = (c - (1 << 64) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _mix(x: Tensor) -> Tensor:
    def shift_right(x: Tensor, bits: int) -> Tensor:  # torch shifts signed integers arithmetically
        return (x >> bits) & ((1 << (64 - bits)) - 1)

    x = (x ^ shift_right(x, 30)) * _MIX1
    x = (x ^ shift_right(x, 27)) * _MIX2
    return x ^ shift_right(x, 31)


def uniform(seed: int, index: Tensor, draws: int) -> Tensor:
    """Counter-based uniform numbers: index (b,) int64 -> (b, draws) float64 in [0, 1), 53 random bits."""
    counter = torch.arange(1, draws + 1, device=index.device)
    start = torch.full((), seed, dtype=torch.int64, device=index.device)
    stream = _mix(index * _GOLDEN + _mix(start * _GOLDEN + _MIX2))
    bits = _mix(stream[:, None] + counter * _GOLDEN)
    return ((bits >> 11) & ((1 << 53) - 1)).to(torch.float64) * 2.0**-53


def named_uniform(name: str, rows: int, columns: int) -> Tensor:
    """Uniform numbers (rows, columns) float64 in [0, 1) that belong to a name, the same on every machine:
    SHA-256 of the name seeds the counter-based generator."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little", signed=True)
    return uniform(seed, torch.arange(rows), columns)
