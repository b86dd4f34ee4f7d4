"""A model of the noise of a 2D keypoint detector.

Shape legend: ``t`` frames, 17 joints of Human3.6M.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from moga_st.config import Config
from moga_st.data.draws import named_uniform
from moga_st.data.pose.skeleton import MIRROR, PARTS
from moga_st.errors import BadInput

LIMBS = tuple(joints for name, joints in PARTS.items() if name.startswith("left"))

# How hard a joint is to find, relative to the others: limbs' ends are, the trunk is easy.
_HARDNESS = (0.8, 0.9, 1.0, 1.3, 0.9, 1.0, 1.3, 0.8, 0.7, 0.7, 0.8, 0.8, 1.1, 1.5, 0.8, 1.1, 1.5)


@dataclass(frozen=True)
class DetectorNoise(Config, kind="detector_noise", was=("moga_st.data.camera:DetectorNoise",)):
    """What a 2D detector does to keypoints. A model of our own, its sizes chosen to resemble a good detector
    and not fitted to any: quote it by its values.

    Lengths are fractions of the person's box (the longer side of the frame's keypoints), because a detector
    sees a crop: 0.01 is 3 px in the median view of a virtual camera, whose box is 300 px.
    """

    jitter: float = 0.01
    """Standard deviation of a keypoint's x and y, before the joint's hardness (0.7 trunk to 1.5 wrist)."""
    memory: float = 0.8
    """Correlation of the jitter from frame to frame at 50 fps (first-order autoregression)."""
    outliers: float = 0.005
    """Fraction of keypoints that are somewhere else, up to :attr:`outlier_reach` away."""
    outlier_reach: float = 0.3
    swaps: float = 0.005
    """Fraction of frames in which a leg, or an arm, is taken for the other one."""
    event_frames: int = 5
    """Frames that an outlier or a swap lasts."""
    confidence_spread: float = 0.03
    """The error at which confidence has fallen to 0.61 (a Gaussian's one sigma)."""


def detect(keypoints_px: Tensor, clip: str, camera: int, seed: int, noise: DetectorNoise) -> Tensor:
    """Exact keypoints as a detector would give them: (t, 17, 2) -> (t, 17, 3) with confidence in (0, 1].

    A pure function of its arguments: the noise belongs to (clip, camera, seed).  Confidence falls with the
    error and varies by a tenth by itself; of left and right taken for each other it knows nothing, as with
    real detectors.

    Raises:
        BadInput: another shape, or noise parameters out of range.
    """
    t = len(keypoints_px)
    if keypoints_px.shape != (t, 17, 2) or t == 0:
        raise BadInput(f"{clip}: expected keypoints (t, 17, 2) in pixels, got {tuple(keypoints_px.shape)}")
    if not (0 <= noise.memory < 1 and noise.event_frames > 0 and noise.confidence_spread > 0):
        raise BadInput("DetectorNoise: memory must be in [0, 1), event_frames and confidence_spread above 0")
    draws = named_uniform(f"moga_st detector {clip} {camera} {seed}", t, 17 * 6).view(t, 17, 6)
    swap_draws = named_uniform(f"moga_st swaps {clip} {camera} {seed}", t, len(LIMBS))
    exact = keypoints_px.double().cpu()
    box = (exact.amax(1) - exact.amin(1)).amax(-1)[:, None, None]  # (t, 1, 1)

    # Box and Muller's normal numbers; 1 - u is in (0, 1]
    normal = (-2 * (1 - draws[..., 0]).log()).sqrt()[..., None] * _direction(draws[..., 1])
    drift = [normal[0]]
    for step in normal[1:] * math.sqrt(1 - noise.memory**2):
        drift.append(noise.memory * drift[-1] + step)
    hardness = torch.tensor(_HARDNESS, dtype=torch.float64)[:, None]
    error = noise.jitter * hardness * torch.stack(drift)

    start = _last_start(draws[..., 2], noise.outliers, noise.event_frames)
    chosen = start.clamp(min=0)  # an outlier stays where it began: the draws of its first frame
    away = noise.outlier_reach * draws[..., 3].gather(0, chosen).sqrt()  # uniform on a disc
    jump = away[..., None] * _direction(draws[..., 4].gather(0, chosen))
    error = error + torch.where(start[..., None] >= 0, jump, 0.0)

    distance = error.norm(dim=-1, keepdim=True) / noise.confidence_spread
    confidence = (-distance.square() / 2).exp() * (1 - 0.1 * draws[..., 5:])
    out = torch.cat([exact + error * box, confidence.clamp(min=1e-3)], dim=-1)
    swapped = _last_start(swap_draws, noise.swaps, noise.event_frames) >= 0
    for i, left in enumerate(LIMBS):
        limb = [*left, *(MIRROR[joint] for joint in left)]
        other = [MIRROR[joint] for joint in limb]
        out[:, limb] = torch.where(swapped[:, i, None, None], out[:, other], out[:, limb])
    return out.to(keypoints_px)


def _direction(u: Tensor) -> Tensor:
    return torch.stack([(2 * torch.pi * u).cos(), (2 * torch.pi * u).sin()], dim=-1)


def _last_start(u: Tensor, fraction: float, frames: int) -> Tensor:
    """Events of ``frames`` frames that fill a fraction of the time: uniform (t, ...) -> the frame (t, ...) at
    which the event going on began, or -1."""
    begin = 1 - (1 - fraction) ** (1 / frames)  # a frame is free if none began at it or just before
    frame = torch.arange(len(u)).view(-1, *[1] * (u.ndim - 1)).expand_as(u)
    last = torch.where(u < begin, frame, -frames).cummax(0).values
    return torch.where(frame - last < frames, last, -1)
