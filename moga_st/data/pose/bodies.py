"""Motion as training data: windows at any frame rate, and bodies of other proportions doing the same.

All is on the device, a pure function of its arguments, and waits for nothing.

Axes: metres in the world, z up, the floor near z = 0.

Shape legend: ``n`` frames of all clips one after the other, ``b`` windows, ``t`` frames of a window, 17 joints.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from moga_st.data.draws import Draws, constant
from moga_st.data.pose.face import torso_axes
from moga_st.data.pose.prepared_poses import MotionClip
from moga_st.data.pose.skeleton import JOINTS, PARENTS, flip
from moga_st.errors import BadInput


class MovingBodies(NamedTuple):
    """Clips, frame after frame."""

    world_m: Tensor  # (n, 17, 3)
    first: Tensor  # (n,) number of the first frame of the clip that the frame is in
    last: Tensor  # (n,) number of its last frame
    fps: Tensor  # (n,) of its clip


def to_motion(clips: Iterable[MotionClip], device: torch.device | str = "cpu") -> MovingBodies:
    """Clips as one stack of frames.

    Raises:
        BadInput: no clip, one without poses in the world, or one whose frames are not evenly spaced.
    """
    poses, first, last, fps, n = [], [], [], [], 0
    for clip in clips:
        if clip.world_m is None or not clip.evenly_spaced:
            raise BadInput(f"clip {clip.name}: random cameras need poses in the world, evenly spaced in time")
        t = len(clip)
        poses.append(torch.from_numpy(clip.world_m).float())
        first.append(torch.full((t,), n))
        last.append(torch.full((t,), n + t - 1))
        fps.append(torch.full((t,), float(clip.fps)))
        n += t
    if not poses:
        raise BadInput("no motion clip to train on; prepare the whole data set")
    return MovingBodies(*(torch.cat(x).to(device) for x in (poses, first, last, fps)))


def windows(motion: MovingBodies, centre: Tensor, fps: Tensor, frames: int) -> Tensor:
    """Poses (b, frames, 17, 3) around the frames ``centre`` (b,) at the rates ``fps`` (b,): linear between the clip's
    frames; beyond its ends the end frames repeat."""
    steps = torch.arange(frames, device=centre.device) - frames // 2
    at = centre[:, None] + steps * (motion.fps[centre] / fps)[:, None]
    at = at.clamp(motion.first[centre][:, None], motion.last[centre][:, None])
    low = at.floor().long()
    part = (at - low)[..., None, None].to(motion.world_m)
    high = torch.minimum(low + 1, motion.last[centre][:, None])
    return torch.lerp(motion.world_m[low], motion.world_m[high], part)


# Bones that change their length together, by what a person has of them
_GROUPS = {
    "thigh": ("RKnee", "LKnee"),
    "shin": ("RFoot", "LFoot"),
    "hips": ("RHip", "LHip"),
    "trunk": ("Spine", "Thorax"),
    "neck": ("Neck/Nose",),
    "head": ("Head",),
    "shoulders": ("RShoulder", "LShoulder"),
    "upper arm": ("RElbow", "LElbow"),
    "forearm": ("RWrist", "LWrist"),
}
_SPREAD = (0.06, 0.06, 0.15, 0.06, 0.1, 0.25, 0.08, 0.07, 0.07)
# Joints whose place on the body is a matter of definition, and how far skeletons differ in it, in metres
_DEFINED = {"Spine": 0.03, "Thorax": 0.03, "Neck/Nose": 0.02, "Head": 0.02, "Shoulder": 0.02, "Hip": 0.015}


def vary(world_m: Tensor, draws: Draws) -> Tensor:
    """Other bodies in the same motion: (b, t, 17, 3) -> (b, t, 17, 3).

    Statures differ by up to 10 %, groups of bones by some per cent more, both sides alike; in two of three windows the
    joints whose place is a matter of definition lie some centimetres off, and stay there on the body.  Steps and height
    scale with the legs, so feet stay where they are on the floor.
    """
    size = draws.between("size", 0.9, 1.1)
    groups = 1 + draws.between("proportions", -1, 1, len(_GROUPS)) * constant(_SPREAD, world_m.device)
    group_of = [next(i for i, g in enumerate(_GROUPS.values()) if name in g) for name in JOINTS[1:]]
    factor = size[:, None] * torch.stack([groups[:, i] for i in group_of], -1)  # (b, 16)
    bones = torch.stack([world_m[..., j, :] - world_m[..., PARENTS[j], :] for j in range(1, 17)], -2)
    bones = bones * factor[:, None, :, None]
    legs = size * (groups[:, 0] + groups[:, 1]) / 2
    hip = world_m[..., 0, :]
    middle = hip[:, hip.shape[1] // 2, None] * constant((1.0, 1.0, 0.0), hip.device)
    out = _join((hip - middle) * legs[:, None, None] + middle, bones)
    return out + _redefined(out, draws)


def _join(hip: Tensor, bones: Tensor) -> Tensor:
    joints = [hip]
    for j in range(1, 17):
        joints.append(joints[PARENTS[j]] + bones[..., j - 1, :])
    return torch.stack(joints, -2)


def _redefined(pose: Tensor, draws: Draws) -> Tensor:
    """Offsets of joints that stay where they are on the torso: (b, t, 17, 3)."""
    offset = draws.normal("definition", len(_DEFINED), 3) * draws.chance("redefined", 0.67)[:, None, None]
    axes = torso_axes(pose)
    columns = []
    for name in JOINTS:
        kind = name[1:] if name[0] in "LR" else name
        if kind not in _DEFINED or name == "Hip":
            columns.append(torch.zeros_like(pose[..., 0, :]))
            continue
        row = list(_DEFINED).index(kind)
        side = -1.0 if name[0] == "L" else 1.0 if name[0] == "R" else 0.0  # the middle joints stay in the middle
        local = offset[:, row] * _DEFINED[kind] * constant((side, 1.0, 1.0), offset.device)
        columns.append((local[:, None, :, None] * axes).sum(-2))
    return torch.stack(columns, -2)


_ARMS = tuple(JOINTS.index(f"{side}{joint}") for side in "LR" for joint in ("Elbow", "Wrist"))


def exchange_arms(world_m: Tensor, other_m: Tensor, chosen: Tensor) -> Tensor:
    """Give the windows ``chosen`` (b,) the arms' motion of ``other_m``, as seen from the torso; bones keep their
    lengths: (b, t, 17, 3) twice -> (b, t, 17, 3)."""
    axes, other_axes = torso_axes(world_m), torso_axes(other_m)
    bones = torch.stack([world_m[..., j, :] - world_m[..., PARENTS[j], :] for j in range(1, 17)], -2)
    columns = list(bones.unbind(-2))
    for j in _ARMS:
        away = other_m[..., j, :] - other_m[..., PARENTS[j], :]
        local = (other_axes * away[..., None, :]).sum(-1)
        turned = normalize((local[..., None] * axes).sum(-2), dim=-1)
        columns[j - 1] = turned * columns[j - 1].norm(dim=-1, keepdim=True)
    mixed = _join(world_m[..., 0, :], torch.stack(columns, -2))
    return torch.where(chosen[:, None, None, None], mixed, world_m)


def mirrored(world_m: Tensor, chosen: Tensor) -> Tensor:
    """The windows ``chosen`` (b,) as their mirror images."""
    return torch.where(chosen[:, None, None, None], flip(world_m), world_m)
