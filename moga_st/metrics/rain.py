"""Scores of rain and other fields that are or are not above a threshold, batched on the device.

Every function takes ``pred`` and ``true`` of shape (..., c, h, w) in the unit of ``thresholds``.  A pixel is an event
where its value is at or above the threshold.  An event that is predicted and comes is a hit, one that comes unpredicted
a miss, one that is predicted and does not come a false alarm (Wilks 2011, section 8.2).

These scores are ratios of counts, and the field pools the counts of all test sequences before it divides: the mean of
single frames' ratios is another number, and undefined where a frame is dry.  So each score comes in two steps.
:func:`event_counts` and :func:`fss_parts` give terms that are summed over frames, sequences and processes;
:func:`csi`, :func:`pod`, :func:`far` and :func:`fss` turn the sums into scores, NaN where they would divide by zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from moga_st.errors import BadInput

SEVIR_THRESHOLDS = (16.0, 74.0, 133.0, 160.0, 181.0, 219.0)
"""Those of the published SEVIR tables, on VIL's scale of 0 to 255; their CSI's mean is what is called CSI-M."""


def event_counts(pred: Tensor, true: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Hits, misses and false alarms: (..., c, h, w) -> (..., k, 3) float64, summed over c, h, w, for k thresholds.

    Raises:
        BadInput: no thresholds.
    """
    if not thresholds:
        raise BadInput("thresholds: expected at least one value in the data's unit, got none")
    counts = []
    for threshold in thresholds:
        said, came = pred >= threshold, true >= threshold
        pixels = [said & came, ~said & came, said & ~came]
        counts.append(torch.stack([p.sum((-3, -2, -1), dtype=torch.float64) for p in pixels], -1))
    return torch.stack(counts, -2)


def csi(counts: Tensor) -> Tensor:
    """Critical success index, hits / (hits + misses + false alarms): summed counts (..., 3) -> (...); 1 is best."""
    hits, misses, false_alarms = counts.unbind(-1)
    return hits / (hits + misses + false_alarms)


def pod(counts: Tensor) -> Tensor:
    """Probability of detection, hits / (hits + misses): summed counts (..., 3) -> (...); 1 is best."""
    hits, misses, _ = counts.unbind(-1)
    return hits / (hits + misses)


def far(counts: Tensor) -> Tensor:
    """False alarm ratio, false alarms / (hits + false alarms): summed counts (..., 3) -> (...); 0 is best."""
    hits, _, false_alarms = counts.unbind(-1)
    return false_alarms / (hits + false_alarms)


def fss_parts(pred: Tensor, true: Tensor, thresholds: Sequence[float], window_px: int) -> Tensor:
    """The two sums of the fractions skill score: (..., c, h, w) -> (..., k, 2) float64 for k thresholds.

    Each pixel's fraction is that of the events in the window of ``window_px`` x ``window_px`` pixels around it; what
    lies outside the frame is no event (Roberts, Lean 2008, equations 2 to 7).  The first sum is that of the squared
    differences of both fractions, the second that of their squares.

    Raises:
        BadInput: no thresholds, or a window that has no middle.
    """
    if window_px < 1 or window_px % 2 == 0:
        raise BadInput(f"window_px: expected an odd number of pixels, got {window_px}")
    if not thresholds:
        raise BadInput("thresholds: expected at least one value in the data's unit, got none")
    parts = []
    for threshold in thresholds:
        said, came = (_fractions(x >= threshold, window_px) for x in (pred, true))
        both = [(said - came).square(), said.square() + came.square()]
        parts.append(torch.stack([x.sum((-3, -2, -1)) for x in both], -1))
    return torch.stack(parts, -2)


def fss(parts: Tensor) -> Tensor:
    """Fractions skill score, 1 - difference / squares: summed parts (..., 2) -> (...); 1 is best, 0 no overlap."""
    difference, squares = parts.unbind(-1)
    return 1.0 - difference / squares


def _fractions(event: Tensor, window_px: int) -> Tensor:
    """The share of events around each pixel, (..., h, w) bool -> float64."""
    flat = event.double().reshape(-1, 1, *event.shape[-2:])
    mean = F.avg_pool2d(flat, window_px, stride=1, padding=window_px // 2, count_include_pad=True)
    return mean.view(event.shape)
