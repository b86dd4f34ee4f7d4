"""A new pinhole camera for every training window: where it stands, how it is held, its lens, and what its image cuts.

Images are described without pixels: a point at (x, y, z) in the camera's axes (x right, y down, z forward) is seen at
the normalised image coordinates (x / z, y / z), and the image reaches to ``half`` of these on either side.

All is on the device, a pure function of (seed, index), and waits for nothing.

Shape legend: ``b`` windows, ``t`` frames, ``j`` joints.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from moga_st.data.draws import Draws

DISTANCE_M = (2.0, 8.0)
HEIGHT_M = (0.3, 3.0)
FOCAL = (0.6, 2.2)
"""Focal length over the image's longer side: 80 to 26 degrees across it."""
ASPECTS = (16 / 9, 4 / 3, 1.0, 3 / 4, 9 / 16)
"""Width over height; the last two are portrait."""
TRUNCATED = 0.25
"""Share of windows in which the image is smaller than the body, or cuts it."""
_NEAREST_M = 0.3


class Views(NamedTuple):
    """One camera a window."""

    rotation: Tensor  # (b, 3, 3) world to camera
    position_m: Tensor  # (b, 3)
    half: Tensor  # (b, 2) half the image's width and height in normalised image coordinates


def to_camera(points_m: Tensor, views: Views) -> Tensor:
    """(b, t, j, 3) in the world -> in each window's camera."""
    offset = points_m - views.position_m[:, None, None]
    # sums of products and no matrix product, which a GPU may be allowed to round to ten bits (TF32)
    return (views.rotation[:, None, None] * offset[..., None, :]).sum(-1)


def rays(points_m: Tensor) -> Tensor:
    """Normalised image coordinates: (..., 3) in the camera -> (..., 2).  Points nearer than 0.3 m are seen there."""
    return points_m[..., :2] / points_m[..., 2:].clamp(min=_NEAREST_M)


def inside(rays: Tensor, views: Views) -> Tensor:
    """Which rays (b, t, j, 2) the image holds: (b, t, j)."""
    return (rays.abs() <= views.half[:, None, None]).all(-1)


def random_views(world_m: Tensor, draws: Draws, truncated: float = TRUNCATED) -> Views:
    """A camera for each window of poses (b, t, 17, 3).

    It stands in any direction from the body's middle, at a distance of 2 to 8 m in the ground plane (every ratio as
    likely), half of them 1 to 1.8 m high and the others 0.3 to 3 m, and looks at the body, with a roll of some degrees
    (one in five: tens).  The lens has the drawn focal length, or a shorter one where the body would not fit; the body
    is anywhere in the image.  A ``truncated`` share of images is 0.35 to 1 times as high as the body, and the body is
    anywhere across its edges.
    """
    middle = (world_m.amax((1, 2)) + world_m.amin((1, 2))) / 2
    turn = draws.between("azimuth", -math.pi, math.pi)
    distance = draws.log_between("distance", *DISTANCE_M)
    height = torch.where(
        draws.chance("held", 0.5), draws.between("held height", 1.0, 1.8), draws.between("height", *HEIGHT_M)
    )
    place = torch.stack([middle[:, 0] + distance * turn.cos(), middle[:, 1] + distance * turn.sin(), height], -1)
    looking = Views(look_at(middle - place), place, place[:, :2])
    seen = rays(to_camera(world_m, looking))
    low, high = seen.amin((1, 2)), seen.amax((1, 2))
    body, reach = (low + high) / 2, (high - low) / 2 * 1.08  # (b, 2) where the body is and half of its size

    aspect = _choose(draws, "aspect", ASPECTS)
    sides = torch.stack([aspect.clamp(max=1.0), (1 / aspect).clamp(max=1.0)], -1)  # over the longer one
    half = sides / (2 * draws.log_between("focal", *FOCAL)[:, None])
    half = half * (reach / half).amax(-1, keepdim=True).clamp(min=1.0)
    cut = draws.chance("truncated", truncated)
    zoom = draws.between("zoom", 0.35, 1.0) * reach[:, 1] / half[:, 1]
    half = torch.where(cut[:, None], half * zoom[:, None], half)
    room = (half - reach).abs()
    aim = body - draws.between("place", -1, 1, 2) * room  # what becomes the image's middle
    roll = torch.deg2rad(draws.normal("roll") * torch.where(draws.chance("rolled", 0.2), 15.0, 3.0))
    return Views(_product(_roll(roll), _product(_aim(aim), looking.rotation)), place, half)


def look_at(direction: Tensor) -> Tensor:
    """World-to-camera rotations (b, 3, 3), without roll, of cameras that look along (b, 3)."""
    forward = normalize(direction, dim=-1)
    right = normalize(torch.stack([forward[:, 1], -forward[:, 0], torch.zeros_like(forward[:, 0])], -1), dim=-1)
    return torch.stack([right, torch.linalg.cross(forward, right), forward], 1)


def _aim(at: Tensor) -> Tensor:
    """Rotations (b, 3, 3) that bring what is seen at the rays (b, 2) to the image's middle, without roll."""
    x, y = at.unbind(-1)
    forward = normalize(torch.stack([x, y, torch.ones_like(x)], -1), dim=-1)
    right = normalize(torch.stack([torch.ones_like(x), torch.zeros_like(x), -x], -1), dim=-1)
    return torch.stack([right, torch.linalg.cross(forward, right), forward], 1)


def _roll(angle: Tensor) -> Tensor:
    c, s, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = [torch.stack(row, -1) for row in ((c, s, zero), (-s, c, zero), (zero, zero, zero + 1))]
    return torch.stack(rows, 1)


def _product(a: Tensor, b: Tensor) -> Tensor:
    return (a[..., None] * b[:, None]).sum(-2)  # and no matrix product, as above


def _choose(draws: Draws, name: str, values: tuple[float, ...]) -> Tensor:
    u = (draws.uniform(name) * len(values)).long()
    return sum(((u == i) * value for i, value in enumerate(values)), torch.zeros_like(u, dtype=torch.float32))
