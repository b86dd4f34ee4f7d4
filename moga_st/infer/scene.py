"""Everyone of a clip to motion in 3D: the network's poses with constant bones, the way each person goes, and the ground
that all of them share.

Shape legend: ``t`` frames, 17 joints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from moga_st.data.pose.export.motion import AXES, Motion
from moga_st.data.pose.keypoints import Keypoints
from moga_st.data.pose.rig import fit_rig
from moga_st.data.pose.smoothing import OneEuro
from moga_st.data.pose.standing import stand
from moga_st.data.pose.world import find_ground, place
from moga_st.errors import BadInput
from moga_st.infer.lift import lift, upright
from moga_st.infer.person import assumed_focal_px, is_person_lifter, lift_person, scaled_to, smooth_seen


def lift_scene(
    net: nn.Module,
    people: Sequence[Keypoints],
    device: torch.device,
    *,
    space: str = "world",
    smooth: OneEuro | None = None,
    focal_px: float | None = None,
    pitch_deg: float | None = None,
    roll_deg: float | None = None,
    height_m: float | None = None,
    progress: bool = False,
) -> list[Motion]:
    """The motion of each of the people that one camera sees.

    Bones are made constant (:mod:`moga_st.data.pose.rig`).  In the world, all people share one vertical, each stands on
    the floor, and standing feet are still (:mod:`moga_st.data.pose.standing`); in camera space they are as the network
    and the projection have them.

    Args:
        space: "world", "camera", or "root": relative to the hip, just as the network has it.
        smooth: filters the keypoints first.
        focal_px: the camera's; :func:`moga_st.infer.person.assumed_focal_px` where nobody knows it.
        pitch_deg: how far the camera looks down, where known; found from the people otherwise.
        roll_deg: how far it is turned clockwise.
        height_m: how tall everyone is; the network's own idea otherwise.
        progress: show a bar on stderr.

    Raises:
        BadInput: nobody, an unknown space, a net that is no lifter, or keypoints that do not go together with a person
            before the camera.
    """
    if not people or space not in AXES:
        raise BadInput(f"lift_scene: needs people and space of {', '.join(AXES)}, got {len(people)} and {space!r}")
    fps = people[0].fps
    size_px = people[0].size_px
    if any((k.fps, k.size_px) != (fps, size_px) for k in people):
        raise BadInput("lift_scene: the people are of different videos: their frame rates or image sizes differ")
    focal = assumed_focal_px(size_px) if focal_px is None else focal_px
    camera = f"focal length {focal:.0f} px" + (" (assumed)" if focal_px is None else "")
    shown = tqdm(people, "lifting", unit="person", disable=not progress)
    joints = [_joints(net, k, device, smooth, focal, space != "root") for k in shown]
    if height_m is not None:
        joints = [scaled_to(j, height_m) for j in joints]
    if space == "root":
        return [_motion(k, upright(j - j[:, :1]), None, space, camera) for k, j in zip(people, joints, strict=True)]
    joints = [_constant_bones(j) for j in joints]
    if space == "camera":
        return [_motion(k, upright(j), None, space, camera) for k, j in zip(people, joints, strict=True)]
    ground = find_ground(joints, fps, pitch_deg, roll_deg)
    placed = [stand(j, ground, fps, i) for i, j in enumerate(joints)]
    note = f"{camera}; {ground.note}"
    return [_motion(k, world, touching, space, note) for k, (world, touching) in zip(people, placed, strict=True)]


def _joints(
    net: nn.Module, k: Keypoints, device: torch.device, smooth: OneEuro | None, focal_px: float, placed: bool
) -> np.ndarray:
    """A person's joints (t, 17, 3) in the camera's space; about the hip, if ``placed`` is off and the network says no
    more."""
    if is_person_lifter(net):
        points = k.canonical_px if smooth is None else smooth_seen(k.canonical_px, k.fps, smooth)
        return lift_person(net, points, k.size_px, k.fps, device, focal_px).astype(np.float64)
    poses = lift(net, k, device, smooth).astype(np.float64)
    if not placed:
        return poses
    middle = (k.size_px[0] / 2, k.size_px[1] / 2)
    return poses + place(poses, k.points_px, focal_px, middle, k.fps)[:, None]


def _constant_bones(joints: np.ndarray) -> np.ndarray:
    """In the camera's axes, as they are."""
    x, depth, up = np.moveaxis(fit_rig(upright(joints)).points_m(), -1, 0)
    return np.stack([x, -up, depth], axis=-1)


def _motion(k: Keypoints, poses_m: np.ndarray, touching: np.ndarray | None, space: str, note: str) -> Motion:
    return Motion(
        poses_m,
        k.fps,
        k.frames,
        k.times_s,
        space,
        confidence=k.points_px[..., 2],
        contacts=touching,
        keypoints_px=k.points_px,
        size_px=k.size_px,
        person=k.person,
        note=f"{k.note}; {note}",
    )
