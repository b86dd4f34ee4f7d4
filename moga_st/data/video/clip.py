"""What every clip is, whatever file it comes from: frames that are decoded when they are asked for, and their times.

Shape legend: ``h w`` size, ``c`` channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moga_st.errors import BadInput

MAX_PIXELS = 8192 * 4320  # of one frame: 8K
PAPER = (0, 0, 0)  # black, where most clips of moving things have nothing: what transparent pixels are laid on


class DamagedClip(UserWarning):
    """A file is damaged; the whole frames before the damage came."""


@dataclass
class Clip(ABC):
    """One clip.  Only the frames that :meth:`read` is asked for, and what a decoder needs before them, are decoded, one
    at a time, so that a clip of any length needs the memory of a few frames."""

    path: Path
    size_px: tuple[int, int]
    """Width and height, upright where the file says how it was held."""
    channels: tuple[str, ...]
    """Names: grey; red, green, blue; the names of variables."""
    frames: int
    """As many as there are, evenly spaced; of a damaged file perhaps fewer come."""
    fps: float | None
    """Frames a second; None where it is unknown.  Where a file's rate varies, a frame that is shown longer comes
    several times, so that the frames are evenly spaced in time."""
    unit: str = ""
    """Of a value, as the file says; empty for images."""
    time_s: np.ndarray | None = None
    """(frames,) float64: the date of each frame, seconds since 1970-01-01 00:00 UTC; None where the file has none."""

    @abstractmethod
    def read(self, first: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Frames ``first`` to ``stop`` - 1: (h, w, c), uint8, or float32 where the file holds other numbers (16-bit
        images are divided by 65535).

        Raises:
            BadInput: a frame cannot be decoded, and there was no whole one before it.

        Warns:
            DamagedClip: the whole frames before the damage came.
        """


class Timeline(NamedTuple):
    """Which of a file's frames is shown at each of evenly spaced moments."""

    fps: float
    shown: np.ndarray  # (moments,) int64, numbers of the file's frames


def even(path: Path, delays_s: Sequence[float] | np.ndarray, clock_s: float = 0.0) -> Timeline:
    """Evenly spaced moments out of how long each of a file's frames is shown.

    A rate that only wavers, by a tick of the file's clock or by a camera's jitter (15 %), counts as constant: every
    frame is shown once.  Else the moments are as close as the shortest delay.

    Raises:
        BadInput: delays so uneven that thousands of moments would show the same frame.
    """
    delays = np.asarray(delays_s, np.float64)
    if not len(delays):
        return Timeline(10.0, np.zeros(0, np.int64))
    delays = np.where(delays > 0, delays, 0.1)  # what viewers take where no delay is given
    mean = float(delays.mean())
    tolerance = max(0.15 * mean, min(1.01 * clock_s, 0.45 * mean))
    if np.abs(delays - mean).max() <= tolerance:
        whole = max(1, round(1 / mean))
        if abs(len(delays) / whole - delays.sum()) <= 1.01 * clock_s:  # the clock's ticks hide a whole number
            return Timeline(float(whole), np.arange(len(delays)))
        return Timeline(round(1 / mean, 6), np.arange(len(delays)))
    step = float(np.quantile(delays, 0.02, method="lower"))
    ends = np.cumsum(delays)
    count = max(1, round(float(ends[-1]) / step))
    if count > 10_000 + 100 * len(delays):
        raise BadInput(
            f"{path}: frames are shown for {delays.min():.4g} to {delays.max():.4g} s, which would be {count:,} evenly "
            "spaced frames; save it with even delays"
        )
    moments = np.arange(count) * step
    shown = np.searchsorted(ends, moments + 0.25 * step, side="right")
    return Timeline(round(1 / step, 6), np.minimum(shown, len(delays) - 1))


def check_size(path: Path, width: int, height: int) -> None:
    """Raise BadInput for a frame that is too large, before it is decoded."""
    if width < 1 or height < 1:
        raise BadInput(f"{path}: frames of {width} x {height} pixels; the file is damaged, save it again")
    if width * height > MAX_PIXELS:
        raise BadInput(
            f"{path}: frames of {width} x {height} pixels, at most {MAX_PIXELS:,} can be read; make them smaller"
        )
