"""Mean and variance of what does not fit into memory.

Shape legend: ``c`` channels.
"""

from __future__ import annotations

import numpy as np


class Moments:
    """Mean and variance of each channel of frames that come block by block (Chan, Golub, LeVeque 1983)."""

    def __init__(self, channels: int):
        self._count = 0
        self._mean, self._squares = np.zeros(channels), np.zeros(channels)

    def add(self, frames: np.ndarray) -> None:
        """Frames (..., c) of any number."""
        values = frames.reshape(-1, frames.shape[-1])
        if frames.dtype == np.uint8:  # exact, and without a copy of the frames as floats
            levels = np.arange(256)
            counts = np.stack([np.bincount(v, minlength=256) for v in values.T])
            mean = counts @ levels / len(values)
            squares = (counts * (levels - mean[:, None]) ** 2).sum(1)
        else:
            mean = values.mean(0, dtype=np.float64)
            squares = ((values - mean) ** 2).sum(0)
        self._join(len(values), mean, squares)

    def merge(self, other: Moments) -> None:
        """What another one has seen."""
        self._join(other._count, other._mean, other._squares)

    def mean_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, (c,) each, float64; a constant channel's deviation is 1."""
        std = np.sqrt(self._squares / max(1, self._count))
        return self._mean, np.where(std > 1e-12 * np.abs(self._mean), std, 1.0)

    def _join(self, count: int, mean: np.ndarray, squares: np.ndarray) -> None:
        total = self._count + count
        if count:
            apart = mean - self._mean
            self._squares = self._squares + squares + apart**2 * (self._count * count / total)
            self._mean = self._mean + apart * (count / total)
            self._count = total
