"""One person's keypoints of any length, from any camera and detector, to poses in camera space.

Shape legend: ``t`` frames, 22 canonical keypoints, 17 joints.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from moga_st.data.pose.skeleton import flip
from moga_st.data.pose.smoothing import OneEuro
from moga_st.data.pose.windows import blend, windows
from moga_st.errors import BadInput
from moga_st.models.person import PersonLifter, PersonLifterConfig

if TYPE_CHECKING:
    from typing_extensions import TypeIs  # of typing as of Python 3.13

ASSUMED_FOCAL = 1.0
"""Focal length over the image's longer side where nobody knows it: 53 degrees across, between a phone and a webcam."""
MAX_FPS = 60.0
"""The highest frame rate in training: of faster videos, every second or third frame and so on is a clip of its own."""
HALF_FPS = 20.0
"""Where every second frame is still so many a second, these are lifted too: their windows see twice as far back and
ahead.  The mean of both results is better than either; of 15 a second it is not (experiments/README.md)."""
BATCH = 64  # windows at once: bounds memory


def is_person_lifter(net: nn.Module) -> TypeIs[PersonLifter]:
    """Whether it is a lifter for everyone, or something exported that stands for one."""
    return isinstance(getattr(net, "config", None), PersonLifterConfig)


def assumed_focal_px(size_px: tuple[int, int]) -> float:
    """A focal length for an image whose camera is not known."""
    return ASSUMED_FOCAL * max(size_px)


def to_rays(keypoints_px: np.ndarray, size_px: tuple[int, int], focal_px: float, fps: float) -> Tensor:
    """What a :class:`PersonLifter` reads: (t, 22, 3) pixels and confidence -> (t, 22, 4), the principal point in the
    image's middle.

    Raises:
        BadInput: a focal length or frame rate that is not positive.
    """
    for name, value in (("focal length", focal_px), ("frame rate", fps)):
        if not 0 < value < math.inf:
            raise BadInput(f"{name}: expected more than 0, got {value}")
    points = torch.from_numpy(np.asarray(keypoints_px, np.float32))
    xy = (points[..., :2] - torch.tensor(size_px) / 2) / focal_px
    seconds = (torch.arange(len(points)) / fps)[:, None, None].expand(-1, points.shape[1], 1)
    return torch.cat([torch.where(points[..., 2:] > 0, xy, 0.0), points[..., 2:], seconds], -1)


@torch.no_grad()
def lift_person(
    net: PersonLifter,
    keypoints_px: np.ndarray,
    size_px: tuple[int, int],
    fps: float,
    device: torch.device,
    focal_px: float | None = None,
    overlap: bool = True,
) -> np.ndarray:
    """Poses (t, 17, 3) in camera space, metres: x right, y down, z forward, from canonical keypoints (t, 22, 3).

    Each prediction is averaged with that of its mirror image.  Windows overlap by half and are blended, and the result
    is averaged with that of every second frame where these are at least :data:`HALF_FPS` a second; without ``overlap``
    windows lie side by side.  For a lifter for live use (``last`` in its config) a window ends with each frame, so that
    nothing later has a part in its pose.  Without ``focal_px`` it is :func:`assumed_focal_px`; a wrong one moves the
    person nearer or further and hardly changes the pose.

    Raises:
        BadInput: see :func:`to_rays`.
    """
    rays = to_rays(keypoints_px, size_px, assumed_focal_px(size_px) if focal_px is None else focal_px, fps)
    every = stride(fps)
    further = overlap and net.config.last is None and fps / every >= 2 * HALF_FPS
    out = np.zeros((len(rays), 17, 3), np.float32)
    for first in range(min(every, len(rays))):
        part = rays[first::every]
        out[first::every] = poses = _lift(net, part, every / fps, device, overlap)
        # in a clip of one window there is nothing more to see
        if further and len(part) > net.config.frames and _well_seen(part, net.config.frames):
            out[first::every] = (poses + _from_every_second(net, part, every / fps, device)) / 2
    return out


def stride(fps: float) -> int:
    """Every so many frames are a window's, so that it has no more a second than the lifter has seen."""
    return max(1, math.ceil(fps / MAX_FPS - 1e-6))


def _well_seen(rays: Tensor, length: int) -> bool:
    """Whether every window of even and of odd frames shows the person, five keypoints, in half of its frames: a
    detector that ran on every second frame leaves nothing for the others, and nothing is lifted to anywhere."""
    seen = ((rays[..., 2] > 0).sum(1) >= 5).numpy().astype(float)
    for part in (seen[::2], seen[1::2]):
        window = np.ones(min(length, len(part)))
        if np.convolve(part, window, "valid").min() < len(window) / 2:
            return False
    return True


def _from_every_second(net: PersonLifter, rays: Tensor, interval_s: float, device: torch.device) -> np.ndarray:
    """Poses of the even frames and those of the odd frames, lifted apart: each pose is half its own and half its
    neighbours', since those of even and odd frames do not quite agree."""
    poses = np.zeros((len(rays), 17, 3), np.float32)
    for first in (0, 1):
        poses[first::2] = _lift(net, rays[first::2], 2 * interval_s, device, overlap=True)
    poses[1:-1] = poses[1:-1] / 2 + (poses[:-2] + poses[2:]) / 4
    return poses


def _lift(net: PersonLifter, rays: Tensor, interval_s: float, device: torch.device, overlap: bool) -> np.ndarray:
    t, length = len(rays), net.config.frames
    live = net.config.last is not None
    if live:
        starts = np.arange(t) - (length - 1)
    else:
        starts = windows(t, length, max(1, length // 2)) if overlap else np.arange(0, t, length)
    x = windows_of(rays, starts, length, interval_s)
    poses = torch.cat([mirrored(net, part.to(device)).cpu() for part in x.split(BATCH)]).numpy()
    return poses[:, -1] if live else blend(poses, starts, t)


def windows_of(rays: Tensor, starts: np.ndarray, length: int, interval_s: float) -> Tensor:
    """The windows of (t, 22, 4) that begin at ``starts`` (n,): (n, length, 22, 4).  Beyond the ends the first or last
    frame is repeated, and time goes on."""
    numbers = torch.from_numpy(starts[:, None] + np.arange(length))
    x = rays[numbers.clamp(0, len(rays) - 1)]
    seconds = (numbers * interval_s).to(x)[..., None, None].expand(*x.shape[:-1], 1)
    return torch.cat([x[..., :3], seconds], -1)


def mirrored(net: PersonLifter, windows: Tensor) -> Tensor:
    """What the net makes of windows (n, t, 22, 4), averaged with the mirror image of what it makes of the mirrored."""
    if getattr(net, "mirrored", False):  # an exported lifter averages itself
        return net(windows).float()
    return ((net(windows) + flip(net(flip(windows)))) / 2).float()


def smooth_seen(keypoints_px: np.ndarray, fps: float, smooth: OneEuro) -> np.ndarray:
    """Keypoints (t, 22, 3) filtered in time; what is not seen stays so, and the filter goes over it on a straight
    line."""
    out, frames = keypoints_px.astype(np.float32), np.arange(len(keypoints_px))
    seen = out[..., 2] > 0
    there = np.flatnonzero(seen.any(0))
    if not len(there):
        return out
    for k in there:
        known = np.flatnonzero(seen[:, k])
        for axis in range(2):
            out[:, k, axis] = np.interp(frames, known, out[known, k, axis])
    out[:, there, :2] = smooth.smooth(out[:, there, :2], fps)
    out[~seen] = 0
    return out


def stature_m(poses_m: np.ndarray) -> float:
    """How tall the person of poses (t, 17, 3) is: the way along the bones from the top of the head over the spine to
    the ankles, each bone's median over the frames, which is 95 % of the stature."""
    chains = (((0, 7), (7, 8), (8, 9), (9, 10)), ((0, 1), (1, 2), (2, 3)), ((0, 4), (4, 5), (5, 6)))
    lengths = [
        sum(float(np.median(np.linalg.norm(poses_m[:, b] - poses_m[:, a], axis=-1))) for a, b in chain if a or b > 6)
        for chain in chains
    ]
    return (lengths[0] + (lengths[1] + lengths[2]) / 2) / 0.95


def scaled_to(poses_m: np.ndarray, height_m: float) -> np.ndarray:
    """Poses in camera space of a person who is ``height_m`` tall: body and distance scaled together, so that they
    project to the same keypoints.

    Raises:
        BadInput: a height that is no person's.
    """
    if not 0.4 <= height_m <= 2.6:
        raise BadInput(f"body height: expected 0.4 to 2.6 m, got {height_m}")
    return poses_m * np.float32(height_m / stature_m(poses_m))
