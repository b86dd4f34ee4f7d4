"""Virtual cameras for a motion clip: four fixed ones that everyone who has the clip gets.

Shape legend: ``b`` cameras, ``t`` frames, ``j`` joints.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moga_st.data.draws import named_uniform
from moga_st.data.pose.camera import Camera, project, world_to_camera
from moga_st.errors import BadInput

VIRTUAL_CAMERAS = 4
IMAGE_PX = 1000
FOCAL_PX = 1145.0
MARGIN_PX = 20.0
"""No joint of a clip comes nearer than this to an image's edge."""


def virtual_cameras(clip: str, world_m: Tensor) -> Camera:
    """Four Human3.6M-like cameras around a clip: poses (t, 17, 3) in the world -> a stack of 4, float64.

    They stand 90 degrees apart, turned together by a random angle and each by up to 15 degrees more, 1.3 to
    1.7 m above the ground (z = 0), and look, without roll, at a point within 0.3 m (0.15 m in height) of the
    middle of the space the joints take up.  The distance in the ground plane from a camera to the nearest
    place of the hip is 4 to 6 m; where some joint would not be in view, or nearer than :data:`MARGIN_PX` to
    the edge, the camera moves straight back in steps of 0.1 m until all are.  Images are 1000 x 1000 px, the
    focal length 1140 to 1150 px, the principal point within 15 px of the middle, without distortion.

    All draws come from the clip's name alone, so everyone who has the clip has the same cameras.

    Raises:
        BadInput: no frames, wrong shape, or values that are not finite.
    """
    if world_m.ndim != 3 or world_m.shape[-1] != 3 or not len(world_m) or not world_m.isfinite().all():
        raise BadInput(f"{clip}: cameras need finite poses (t, 17, 3) in metres, got {tuple(world_m.shape)}")
    points = world_m.double().cpu()
    draws = named_uniform(f"moga_st camera {clip}", VIRTUAL_CAMERAS + 1, 9)
    u = draws[1:] * 2 - 1  # of each camera, in [-1, 1)
    low, high = points.amin((0, 1)), points.amax((0, 1))
    target = (low + high) / 2 + u[:, :3] * torch.tensor([0.3, 0.3, 0.15], dtype=torch.float64)  # (b, 3)
    angle = 2 * torch.pi * (draws[0, 0] + torch.arange(VIRTUAL_CAMERAS) / VIRTUAL_CAMERAS) + u[:, 3] * (torch.pi / 12)
    outwards = torch.stack([angle.cos(), angle.sin()], dim=-1)  # (b, 2)
    height = 1.5 + 0.2 * u[:, 4]
    focal = (FOCAL_PX + 5 * u[:, 5:6]).expand(-1, 2)
    centre = IMAGE_PX / 2 + 15 * u[:, 6:8]
    size = torch.full((VIRTUAL_CAMERAS, 2), float(IMAGE_PX), dtype=torch.float64)

    # walking back from the target, the last place at which the hip's path is still `nearest` away
    nearest = 5 + u[:, 8:9]
    hip = points[:, 0, :2] - target[:, None, :2]  # (b, t, 2)
    along = (hip * outwards[:, None]).sum(-1)
    across = hip.square().sum(-1) - along.square()
    back = torch.where(across < nearest**2, along + (nearest**2 - across).clamp(min=0).sqrt(), 0.0).amax(1)

    while True:
        place = torch.cat([target[:, :2] + back[:, None] * outwards, height[:, None]], dim=-1)
        camera = Camera(_look(target - place), place, focal, centre, size)
        seen = world_to_camera(points[None], camera)
        image = project(seen, camera)
        inside = (seen[..., 2] > 0) & ((image - IMAGE_PX / 2).abs().amax(-1) <= IMAGE_PX / 2 - MARGIN_PX)
        inside = inside.flatten(1).all(1)
        if inside.all():
            return camera
        back = back + 0.1 * ~inside


def _look(direction: Tensor) -> Tensor:
    """World-to-camera rotations (b, 3, 3), without roll, of cameras that look along (b, 3)."""
    forward = direction / direction.norm(dim=-1, keepdim=True)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=direction.dtype).expand_as(forward)
    right = torch.linalg.cross(forward, up)
    right = right / right.norm(dim=-1, keepdim=True)
    return torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-2)
