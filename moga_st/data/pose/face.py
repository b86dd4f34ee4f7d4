"""Where a detector sees the face of a body that only has a neck and a head: COCO's face points synthesised.

Shape legend: ``t`` frames, ``j`` the 17 joints of Human3.6M, ``k`` the 22 canonical keypoints; leading dimensions are
free where the functions say ``...``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from moga_st.data.pose.skeleton import CANONICAL, JOINTS

_AT = {name: i for i, name in enumerate(JOINTS)}
_SAME = {"LAnkle": "LFoot", "RAnkle": "RFoot"}

# Of an adult's head in metres, from the joint Head, which is in its upper part: to the person's right, to the front,
# up.  Near the mean of anthropometric tables.
_FACE_M = {
    "Nose": (0.0, 0.115, -0.075),
    "LEye": (-0.032, 0.095, -0.04),
    "REye": (0.032, 0.095, -0.04),
    "LEar": (-0.075, 0.0, -0.055),
    "REar": (0.075, 0.0, -0.055),
}


def torso_axes(pose: Tensor) -> Tensor:
    """Right, front and up of the torso, as rows: (..., 17, 3) -> (..., 3, 3).

    Up is from hip to thorax, right from shoulder to shoulder, made orthogonal to it.
    """
    up = normalize(pose[..., _AT["Thorax"], :] - pose[..., _AT["Hip"], :], dim=-1)
    right = pose[..., _AT["RShoulder"], :] - pose[..., _AT["LShoulder"], :]
    right = normalize(right - (right * up).sum(-1, keepdim=True) * up, dim=-1)
    return torch.stack([right, torch.linalg.cross(up, right), up], dim=-2)


def canonical_points(pose: Tensor, head_yaw: Tensor, head_size: Tensor, lift_m: Tensor | float = 0.0) -> Tensor:
    """The 22 canonical keypoints in space: (..., 17, 3) -> (..., 22, 3), metres, in the pose's axes.

    The head's up is from Neck/Nose to Head; it faces where the torso does, turned about up by ``head_yaw`` (...)
    radians to the person's left.  ``head_size`` (...) is 1 for an adult's; the face is ``lift_m`` (...) higher on the
    head than usual: skeletons do not agree where a head's joint is.
    """
    up = normalize(pose[..., _AT["Head"], :] - pose[..., _AT["Neck/Nose"], :], dim=-1)
    right = torso_axes(pose)[..., 0, :]
    right = normalize(right - (right * up).sum(-1, keepdim=True) * up, dim=-1)
    front = torch.linalg.cross(up, right)
    cos, sin = head_yaw.cos()[..., None], head_yaw.sin()[..., None]
    right, front = right * cos + front * sin, front * cos - right * sin
    head = pose[..., _AT["Head"], :]
    raised = up * (lift_m[..., None] if isinstance(lift_m, Tensor) else lift_m)
    points = []
    for name in CANONICAL:
        if name in _FACE_M:
            x, y, z = _FACE_M[name]
            at = x * right + y * front + z * up
            points.append(head + head_size[..., None] * at + raised)
        else:
            points.append(pose[..., _AT[_SAME.get(name, name)], :])
    return torch.stack(points, dim=-2)


def face_to_camera(points_camera: Tensor) -> Tensor:
    """How much the face looks at the camera: canonical points in camera space (..., 22, 3) -> cosine (...), 1 from
    the front and -1 from behind."""
    nose, ears = points_camera[..., 0, :], points_camera[..., 3:5, :].mean(-2)
    return (normalize(nose - ears, dim=-1) * normalize(-ears, dim=-1)).sum(-1)
