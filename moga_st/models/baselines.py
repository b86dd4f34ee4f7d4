"""Predictions that nothing was trained for: what a network must beat before its score means anything.

Each maps a past (b, t, c, h, w) to a future (b, frames_out, c, h, w), or knows the future's time of the year.

Shape legend: ``b`` clips, ``t`` frames, ``c`` channels, ``h w`` size, ``k`` bins of the climatology.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from moga_st.errors import BadInput
from moga_st.models.warp import pixels, sample

DAY_S = 86_400.0


def copy_last(past: Tensor, frames_out: int) -> Tensor:
    """The last frame again and again (persistence): (b, t, c, h, w) -> (b, frames_out, c, h, w), a view."""
    return past[:, -1:].expand(-1, frames_out, -1, -1, -1)


def optical_flow(past: Tensor, frames_out: int) -> Tensor:
    """The motion between the last two frames, going on: (b, t, c, h, w) -> (b, frames_out, c, h, w), on the CPU.

    The motion is scikit-image's iterative Lucas-Kanade flow (``optical_flow_ilk``), of each channel by itself; where
    they differ, a channel counts by the contrast that it has there, so that flat channels do not slow a moving one.
    What moves keeps its velocity and its value (semi-Lagrangian advection, as in radar nowcasting); what comes in from
    outside has the value of the edge.

    Raises:
        BadInput: fewer than two frames.
    """
    if past.shape[1] < 2:
        raise BadInput(f"optical flow needs the last two frames of the input, got {past.shape[1]}")
    clips = past[:, -2:].detach().float().cpu().numpy()
    flows = np.stack([_backward_flow(before, last) for before, last in clips])
    return _advect(torch.from_numpy(clips[:, 1]), torch.from_numpy(flows), frames_out).to(past.dtype)


def _backward_flow(before: np.ndarray, last: np.ndarray) -> np.ndarray:
    """From each pixel of ``last`` to where its content was in ``before``: (c, h, w) twice -> (2, h, w), y and x."""
    from scipy.ndimage import gaussian_filter
    from skimage.registration import optical_flow_ilk

    total, weights = np.zeros((2, *last.shape[1:]), np.float32), np.full(last.shape[1:], 1e-6, np.float32)
    for a, b in zip(before, last, strict=True):
        low, high = min(a.min(), b.min()), max(a.max(), b.max())
        if not high > low:
            continue  # nothing to see in it, so nothing moves
        a, b = (a - low) / (high - low), (b - low) / (high - low)
        contrast = gaussian_filter(sum(g**2 for g in np.gradient(b)), 3.0)
        total += contrast * optical_flow_ilk(b, a, dtype=np.float32)
        weights += contrast
    return total / weights


def _advect(last: Tensor, flow: Tensor, frames_out: int) -> Tensor:
    """Frame k shows at x what ``last`` has at the start of the path of k steps that ends at x: one interpolation for
    any k, so that nothing is blurred twice.  (b, c, h, w) and (b, 2, h, w) -> (b, frames_out, c, h, w)."""
    here = pixels(last.shape[-2], last.shape[-1]).expand_as(flow)
    place, frames = here, []
    for _ in range(frames_out):
        place = place + sample(flow, place)
        frames.append(sample(last, place))
    return torch.stack(frames, 1)


class Climatology:
    """The mean of the training years at that time of the year and day: what is usual then.

    Means are by calendar month where frames are a fortnight or more apart, else by week of the year (seven days from
    1 January; the last one is longer), and by hour of the day where they are less than twelve hours apart.  A bin that
    the training part never saw takes the mean of all frames.  Times are seconds since 1970-01-01 UTC.

    Attributes:
        bins: what the means are by, one of :data:`BINS`; ``""`` is one mean for all times.
        mean: the means (k, c, h, w) float32, in the order of the bins' numbers.
    """

    def __init__(self, bins: str, mean: Tensor):
        """
        Raises:
            BadInput: no such kind of bins, or as many means as it has not.
        """
        if bins not in BINS or mean.ndim != 4 or len(mean) != BINS[bins]:
            raise BadInput(f"climatology: {bins!r} with means of shape {tuple(mean.shape)}; expected (k, c, h, w)")
        self.bins, self.mean = bins, mean

    @classmethod
    def of(cls, frames: Iterable[tuple[np.ndarray, np.ndarray]], step_s: float, harmonics: int = 0) -> Climatology:
        """The climatology of a training part.

        Args:
            frames: the training part in pieces that fit into memory: times (n,) seconds, and values (n, c, h, w).
            step_s: seconds between two frames.
            harmonics: keep of means by month only so many harmonics of the year; 0 keeps all.  Of few years two come
                nearer to the truth than the means themselves (Narapusetty, DelSole, Tippett 2009).

        Raises:
            BadInput: no frames, a time or value that is not finite, or a step that is not positive.
        """
        if not step_s > 0:
            raise BadInput(f"climatology: expected a positive step between frames, got {step_s:g} s")
        bins = ("month" if step_s >= 14 * DAY_S else "week") + (" hour" if step_s < DAY_S / 2 else "")
        total, count = np.zeros(()), np.zeros(BINS[bins], np.int64)
        for time_s, values in frames:
            if not (np.isfinite(time_s).all() and np.isfinite(values).all()):
                raise BadInput("climatology: the training part holds times or values that are NaN or infinite")
            if total.ndim == 0:
                total = np.zeros((BINS[bins], *values.shape[1:]))
            which = bin_numbers(bins, time_s)
            np.add.at(total, which, values)
            count += np.bincount(which, minlength=BINS[bins])
        if not count.any():
            raise BadInput("climatology: the training part has no frames")
        mean = np.broadcast_to(total.sum(0) / count.sum(), total.shape).astype(np.float32)
        mean[count > 0] = (total.T / np.maximum(count, 1)).T[count > 0]
        if bins == "month" and harmonics and count.all():
            year = 2 * np.pi * np.arange(12) / 12
            waves = [np.ones(12), *(f(k * year) for k in range(1, harmonics + 1) for f in (np.cos, np.sin))]
            basis = np.stack(waves, 1)
            mean = np.tensordot(basis @ np.linalg.pinv(basis), mean, 1).astype(np.float32)
        return cls(bins, torch.from_numpy(mean))

    def __call__(self, time_s: np.ndarray) -> Tensor:
        """The usual values at times of any shape (...): (..., c, h, w) float32, on the CPU."""
        return self.mean[torch.from_numpy(bin_numbers(self.bins, time_s))]


BINS = {"": 1, "month": 12, "week": 52, "month hour": 12 * 24, "week hour": 52 * 24}
"""What a climatology's means can be by, and how many there are."""


def bin_numbers(bins: str, time_s: np.ndarray) -> np.ndarray:
    """The climatology's bins of times (...), seconds since 1970-01-01 UTC: (...) int64."""
    moment = np.asarray(time_s, np.float64)
    if not bins:
        return np.zeros(moment.shape, np.int64)
    day = np.floor(moment / DAY_S).astype(np.int64).astype("datetime64[D]")
    if bins.startswith("month"):
        part = day.astype("datetime64[M]").astype(np.int64) % 12
    else:
        part = np.minimum((day - day.astype("datetime64[Y]")).astype(np.int64) // 7, 51)
    return part * 24 + (moment % DAY_S // 3600).astype(np.int64) if bins.endswith("hour") else part
