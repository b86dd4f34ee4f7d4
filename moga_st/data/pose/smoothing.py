"""The 1-euro filter for keypoints over time (Casiez, Roussel and Vogel, "1€ Filter", CHI 2012).

Shape legend: ``t`` frames, ``j`` joints, ``c`` coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from moga_st.errors import BadInput


@dataclass(frozen=True)
class OneEuro:
    """A causal low-pass filter whose cutoff rises with the speed: what stands stops trembling, what is fast does not
    lag.  Coordinates and speeds are relative to the person's size in the image, so that one setting fits near and far
    people and all resolutions."""

    min_cutoff_hz: float = 4.0
    """Cutoff at rest: lower trembles less and lags more."""
    beta: float = 2.0
    """What a speed of one body size a second adds to the cutoff, in Hz: higher lags less."""
    speed_cutoff_hz: float = 1.0
    """Cutoff of the speed's own low-pass filter."""

    def __call__(self, x: np.ndarray, fps: float) -> np.ndarray:
        """Filter every channel of (t, ...) by itself.

        With alpha(f) = 1 / (1 + fps / (2 pi f)), the smoothing factor of a cutoff f, each frame does

            speed += alpha(speed_cutoff_hz) * ((x - out) * fps - speed)
            out   += alpha(min_cutoff_hz + beta * |speed|) * (x - out)

        from out = x and speed = 0 at the first frame: the paper's equations.

        Raises:
            BadInput: a frame rate or cutoff that is not positive, or a negative beta.
        """
        if not (fps > 0 and self.min_cutoff_hz > 0 and self.speed_cutoff_hz > 0 and self.beta >= 0):
            raise BadInput(
                f"one-euro filter: fps and cutoffs must be positive and beta 0 or more, got {fps} and {self}"
            )

        def alpha(cutoff_hz: np.ndarray | float) -> np.ndarray | float:
            return 1.0 / (1.0 + fps / (2 * math.pi * cutoff_hz))

        out = x.astype(np.float64)
        speed = np.zeros(x.shape[1:])
        for i in range(1, len(out)):
            speed += alpha(self.speed_cutoff_hz) * ((out[i] - out[i - 1]) * fps - speed)
            out[i] = out[i - 1] + alpha(self.min_cutoff_hz + self.beta * np.abs(speed)) * (out[i] - out[i - 1])
        return out.astype(x.dtype)

    def smooth(self, points_px: np.ndarray, fps: float) -> np.ndarray:
        """One person's coordinates in pixels (t, j, 2), without confidence, filtered in units of their size: the
        median over the frames of the longer side of their box."""
        size_px = float(np.median(np.ptp(points_px, axis=1).max(-1)))
        return self(points_px / size_px, fps) * size_px if size_px > 0 else points_px
