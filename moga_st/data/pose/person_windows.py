"""Training windows for a lifter that holds outside: every one seen by a new camera and found by a new detector.

Shape legend: ``b`` windows, ``t`` frames, 22 canonical keypoints, 17 joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from moga_st.config import Config
from moga_st.data.draws import Draws
from moga_st.data.pose import bodies
from moga_st.data.pose.detected_windows import detected
from moga_st.data.pose.face import canonical_points, face_to_camera
from moga_st.data.pose.random_cameras import TRUNCATED, inside, random_views, rays, to_camera
from moga_st.errors import BadInput


@dataclass(frozen=True)
class Variety(Config, kind="variety"):
    """How training windows differ from the motion they are made of."""

    fps: tuple[float, float] = (15.0, 60.0)
    """Frame rates, every ratio as likely; what lies between the motion's frames is interpolated."""
    bodies: bool = True
    """Other statures, proportions and places of joints."""
    arms: float = 0.3
    """Share of windows whose arms move as in another window."""
    truncated: float = TRUNCATED
    """Share of windows whose image cuts the body."""
    masks: float = 0.35
    """Share of windows in which a part of the body is hidden."""
    focal_error: float = 0.15
    """Standard deviation of the logarithm of told over true focal length, in half of the windows."""

    def __post_init__(self) -> None:
        low, high = self.fps
        if not 0 < low <= high:
            raise BadInput(f"variety.fps: expected two positive rates, the lower first, got {self.fps}")
        for name in ("arms", "truncated", "masks"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"variety.{name}: expected a share in [0, 1], got {getattr(self, name)}")


class PersonWindows(NamedTuple):
    """What a lifter is trained on."""

    keypoints: Tensor  # (b, t, 22, 4) normalised image coordinates, confidence, seconds
    poses_m: Tensor  # (b, t, 17, 3) in the camera's axes


def person_windows(
    motion: bodies.MovingBodies, seed: int, numbers: Tensor, frames: int, variety: Variety
) -> PersonWindows:
    """The windows ``numbers`` (b,): a pure function of (seed, number) and the motion.

    Where the focal length that is told is k times the true one, the person is seen at 1/k of the rays and is k times as
    far away: what is to be found is what agrees with the rays.
    """
    draws = Draws(seed, numbers)
    fps = draws.log_between("fps", *variety.fps)
    centre, other = ((draws.uniform(name) * len(motion.first)).long() for name in ("window", "other window"))
    world_m = bodies.windows(motion, centre, fps, frames)
    if variety.arms:
        chosen = draws.chance("arms", variety.arms)
        world_m = bodies.exchange_arms(world_m, bodies.windows(motion, other, fps, frames), chosen)
    if variety.bodies:
        world_m = bodies.vary(world_m, draws)
    world_m = bodies.mirrored(world_m, draws.chance("mirrored", 0.5))
    views = random_views(world_m, draws, variety.truncated)

    steps = (torch.arange(frames, device=numbers.device) - frames // 2) / fps[:, None]  # seconds
    slow = draws.normal("head turning", 1).square() * torch.sin(
        2 * torch.pi * (draws.between("head rate", 0.1, 0.7, 1) * steps + draws.uniform("head phase", 1))
    )
    yaw = 0.4 * draws.normal("head", 1) + 0.3 * slow.clamp(-2, 2)
    size = draws.between("head size", 0.88, 1.12, 1).expand(-1, frames)
    lift = 0.025 * draws.normal("face height", 1).expand(-1, frames)
    seen = to_camera(canonical_points(world_m, yaw, size, lift), views)
    exact = rays(seen)
    points = detected(exact, inside(exact, views), face_to_camera(seen), fps, draws, variety.masks)

    told = torch.exp(variety.focal_error * draws.normal("focal error") * draws.chance("focal told", 0.5))[:, None, None]
    seconds = steps[..., None, None].expand(-1, -1, points.shape[2], -1)
    keypoints = torch.cat([points[..., :2] / told[..., None], points[..., 2:], seconds], -1)
    poses_m = to_camera(world_m, views)
    further = poses_m[:, :, :1, 2:] * (told[..., None] - 1)  # the whole body moves back, and keeps its shape
    return PersonWindows(keypoints, torch.cat([poses_m[..., :2], poses_m[..., 2:] + further], -1))
