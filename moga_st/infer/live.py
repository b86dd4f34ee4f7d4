"""People lifted frame by frame as a camera sees them, with what was seen up to now and nothing later.

Shape legend: ``j`` keypoints of a detector, 22 canonical ones, 17 joints, ``t`` frames of a window.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from moga_st.data.pose.keypoints.filling import fill
from moga_st.data.pose.people import Follower
from moga_st.data.pose.skeleton import Layout, to_canonical, to_h36m17
from moga_st.data.pose.smoothing import OneEuro
from moga_st.errors import BadInput
from moga_st.infer.lift import upright
from moga_st.infer.person import MAX_FPS, assumed_focal_px, is_person_lifter, mirrored, smooth_seen, to_rays


class LivePerson(NamedTuple):
    """One person in the present frame."""

    person: int  # the number they keep while they are followed
    poses_m: np.ndarray  # (17, 3) in metres: x right, y away from the camera, z up as the image has it
    keypoints_px: np.ndarray  # (17, 3) x, y, confidence; 0 where a joint was not seen


class LiveLifter:
    """Frame after frame: the people that a detector found -> their poses now.

    Each person's window ends with the present frame, at the times that the frames have, so frames may be missing;
    before a person appeared, their first frame is repeated.  Of a lifter that was trained for it (``last`` in its
    config) the last pose is what it was trained to give; of another one too it is taken, with less certainty.

    Args:
        size_px: width and height of the frames.
        fps: frames a second of the camera, about.
        layout: of the keypoints.
        focal_px: the camera's; :func:`moga_st.infer.person.assumed_focal_px` where nobody knows it.
        smooth: filters the keypoints, in the direction of time.
        min_confidence: a keypoint below it is not seen.
        patience_s: who was not seen for longer is a new person.

    Raises:
        BadInput: the net reads the 17 joints of Human3.6M, which no detector gives frame by frame.
    """

    def __init__(
        self,
        net: torch.nn.Module,
        device: torch.device,
        size_px: tuple[int, int],
        fps: float,
        layout: Layout,
        *,
        focal_px: float | None = None,
        smooth: OneEuro | None = None,
        min_confidence: float = 0.3,
        patience_s: float = 0.5,
    ):
        if not is_person_lifter(net):
            held = type(getattr(net, "config", net)).__name__.removesuffix("Config")
            raise BadInput(
                f"live lifting: a {held} does not read any detector's keypoints; take `lifter_causal` or `lifter`"
            )
        self.net, self.device, self.size_px, self.fps, self.layout = net, device, size_px, fps, layout
        self.focal_px = assumed_focal_px(size_px) if focal_px is None else focal_px
        self.smooth, self.min_confidence = smooth, min_confidence
        self.every = max(1, math.ceil(fps / MAX_FPS - 1e-6))
        self._follow = Follower(max(1, round(patience_s * fps)), 1 / fps)
        self._seen: dict[int, deque[tuple[float, np.ndarray]]] = {}  # by person: time and canonical keypoints (22, 3)

    @torch.no_grad()
    def __call__(self, number: int, time_s: float, people: Sequence[np.ndarray] | np.ndarray) -> list[LivePerson]:
        """The people of one frame, each (j, 3): x, y in pixels and confidence.

        Args:
            number: of the frame, larger than all before.
            time_s: when it was taken.
        """
        found = [self._sure(p) for p in people]
        found = [p for p in found if np.isfinite(p[:, 0]).any()]
        numbers = self._follow(number, found)
        points = {
            n: to_canonical(torch.from_numpy(p), self.layout).numpy() for n, p in zip(numbers, found, strict=True)
        }
        # twice a window, so that the filter has settled where the window begins
        kept = 2 * self.net.config.frames * self.every
        self._seen = {n: self._seen.get(n, deque(maxlen=kept)) for n in self._follow.numbers}
        nothing = np.zeros((22, 3), np.float32)
        for n, seen in self._seen.items():
            seen.append((time_s, points.get(n, nothing)))
        if not numbers:
            return []
        windows = torch.stack([self._window(self._seen[n]) for n in numbers]).to(self.device)
        joints = upright(mirrored(self.net, windows)[:, -1].cpu().numpy())
        return [LivePerson(n, j, self._joints17(p)) for n, j, p in zip(numbers, joints, found, strict=True)]

    def _sure(self, person: np.ndarray) -> np.ndarray:
        """(j, 3) float32, NaN and confidence 0 where a keypoint is not seen."""
        points = np.asarray(person, np.float32)[: len(self.layout.joints)].copy()
        points[~(np.isfinite(points).all(-1) & (points[:, 2] >= max(self.min_confidence, 1e-6)))] = (np.nan, np.nan, 0)
        return points

    def _window(self, seen: deque[tuple[float, np.ndarray]]) -> torch.Tensor:
        """What the net reads of a person up to now: (t, 22, 4)."""
        rows = list(seen)[:: -self.every][::-1]  # the present frame is the last
        times = np.array([time_s for time_s, _ in rows])
        points = np.stack([p for _, p in rows])
        step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else self.every / self.fps
        if self.smooth is not None:
            points = smooth_seen(points, 1 / step, self.smooth)
        length = self.net.config.frames
        times, points = times[-length:], points[-length:]
        rays = to_rays(points, self.size_px, self.focal_px, 1 / step)
        rays[..., 3] = torch.from_numpy(times - times[-1]).float()[:, None]
        before = torch.arange(len(rays) - length, 0)
        earlier = rays[:1].repeat(len(before), 1, 1)
        earlier[..., 3] += before[:, None] * step
        return torch.cat([earlier, rays])

    def _joints17(self, person: np.ndarray) -> np.ndarray:
        points = to_h36m17(torch.from_numpy(person), self.layout).numpy()[None]
        missing = np.isnan(points).any(-1) | (points[..., 2] == 0)
        return fill(points, missing, 0)[0][0].astype(np.float32)
