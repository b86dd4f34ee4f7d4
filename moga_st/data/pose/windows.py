"""Clips of any length through a network of a fixed length: windows, and blending what comes out.

Shape legend: ``t`` frames, ``n`` windows, ``j`` joints, ``c`` channels.
"""

from __future__ import annotations

import numpy as np

from moga_st.errors import BadInput


def windows(t: int, length: int, stride: int) -> np.ndarray:
    """First frames (n,) of windows that cover all of 0 to t - 1: every ``stride`` frames, and one at the end.

    A clip shorter than a window gets one around it, which begins before 0.

    Raises:
        BadInput: no frames, no length, or a stride that is not in 1 to ``length``.
    """
    if t < 1 or length < 1 or not 1 <= stride <= length:
        raise BadInput(f"windows: need t > 0 and 1 <= stride <= length, got t {t}, length {length}, stride {stride}")
    if t <= length:
        return np.array([(t - length) // 2])
    return np.append(np.arange(0, t - length, stride), t - length)


def cut(x: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """The windows of a clip: (t, ...) -> (n, length, ...); beyond the ends the first or last frame is repeated."""
    return x[np.clip(starts[:, None] + np.arange(length), 0, len(x) - 1)]


def blend(predictions: np.ndarray, starts: np.ndarray, t: int) -> np.ndarray:
    """Windowed predictions (n, length, j, c) -> (t, j, c): where windows overlap, their mean with weights that
    fall linearly from the middle of a window, where a network sees most context, to its ends.

    Raises:
        BadInput: frames that no window covers.
    """
    length = predictions.shape[1]
    weight = np.minimum(np.arange(1, length + 1), np.arange(length, 0, -1)).astype(np.float64)
    total, weights = np.zeros((t, *predictions.shape[2:])), np.zeros(t)
    for start, prediction in zip(starts.tolist(), predictions, strict=True):
        a, b = max(start, 0), min(start + length, t)
        inside = weight[a - start : b - start]
        total[a:b] += inside[:, None, None] * prediction[a - start : b - start]
        weights[a:b] += inside
    if not weights.all():
        raise BadInput(f"blend: no window covers frame {int(weights.argmin())} of {t}; take the starts of windows()")
    return (total / weights[:, None, None]).astype(predictions.dtype)
