"""From a person's keypoints of any length to 3D poses: windows, mirrored averaging, axes.

:func:`lift` takes any lifter; :mod:`moga_st.infer.person` has what a lifter for everyone does besides.

Shape legend: ``t`` frames, 17 joints of Human3.6M.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from moga_st.analyse.gradcam import pose_cam
from moga_st.config import ModelConfig
from moga_st.data.pose.camera import normalise_screen
from moga_st.data.pose.checks import Shot
from moga_st.data.pose.keypoints import Keypoints
from moga_st.data.pose.keypoints.filling import fill
from moga_st.data.pose.keypoints.reading import read_keypoints
from moga_st.data.pose.skeleton import JOINTS
from moga_st.data.pose.smoothing import OneEuro
from moga_st.errors import BadInput, nearest
from moga_st.export.load import load
from moga_st.export.runtime import ExportRuntime, Standing
from moga_st.infer.person import (
    assumed_focal_px,
    is_person_lifter,
    lift_person,
    smooth_seen,
    stride,
    to_rays,
    windows_of,
)
from moga_st.infer.windows import lift_overlapping
from moga_st.models.lifter import JOINT_COUNT, Lifter
from moga_st.models.person import PersonLifter

BATCH = 64  # windows at once: bounds memory
GAP_S = 0.5  # the longest gap that is filled in time, as `lift` has it unless told


def check_lifter(net: nn.Module) -> None:
    """Refuse what lifts nobody: neither a lifter for everyone, nor one that takes windows of 17 joints, (t, 17, c).

    Raises:
        BadInput: it is no lifter.
    """
    if not is_person_lifter(net):
        _window(net)


def _window(net: nn.Module) -> tuple[int, int]:
    """Frames of a window and channels of a joint, of a lifter of 17 joints.

    Raises:
        BadInput: it is none.
    """
    config = getattr(net, "config", None)
    shape = config.example_shape if isinstance(config, ModelConfig) else ()
    if len(shape) != 3 or shape[1] != JOINT_COUNT:
        held = type(getattr(net, "config", net)).__name__.removesuffix("Config")
        raise BadInput(f"the weights hold a {held}; lift needs a pose lifter")
    return shape[0], shape[2]


@torch.no_grad()
def lift(
    weights: str | Path | nn.Module,
    keypoints: str | Path | Keypoints,
    device: torch.device | str = "cpu",
    smooth: OneEuro | None = None,
    focal_px: float | None = None,
    runtime: ExportRuntime | None = None,
) -> np.ndarray:
    """Root-relative poses (t, 17, 3) in metres, in the camera's axes (x right, y down, z forward).

    Windows of the length the net was trained on overlap by half and are blended; each prediction is averaged
    with that of its mirror image (:func:`~moga_st.infer.person.lift_person` says what a :class:`PersonLifter` sees
    besides).  ``smooth`` filters the keypoints first.  ``focal_px`` is for a :class:`PersonLifter`, which assumes one
    where it is not given.

    Args:
        weights: a weights file, a run's folder, the name of weights in the package, or a network built by its config.
        keypoints: one person's, as :func:`moga_st.data.pose.keypoints.read_keypoints` gives them, or a file for it.
        device: where the network runs.
        smooth: filters the keypoints first.
        focal_px: focal length in pixels.
        runtime: see :func:`moga_st.export.load.load`.

    Raises:
        BadInput: the net is no lifter, or ``focal_px`` is given for one that reads places in the image.
    """
    device = torch.device(device)
    net = weights if isinstance(weights, nn.Module) else load(Path(weights), device, runtime).net
    check_lifter(net)
    keypoints = keypoints if isinstance(keypoints, Keypoints) else read_keypoints(Path(keypoints))
    if is_person_lifter(net):
        points = _canonical(keypoints, smooth)
        poses = lift_person(net, points, keypoints.size_px, keypoints.fps, device, focal_px)
    else:
        frames, channels = _window(net)
        if focal_px is not None:
            raise BadInput("focal length: this lifter reads places in the image and takes none; `lifter` does")
        screen = _screen(keypoints, smooth, channels)
        poses = lift_overlapping(net, screen.to(device), frames, BATCH)
    return poses - poses[:, :1]


def _canonical(keypoints: Keypoints, smooth: OneEuro | None) -> np.ndarray:
    """What a lifter for everyone is given of a person: (t, 22, 3) in pixels."""
    points = keypoints.canonical_px
    return points if smooth is None else smooth_seen(points, keypoints.fps, smooth)


def _screen(keypoints: Keypoints, smooth: OneEuro | None, channels: int) -> torch.Tensor:
    """What a lifter that reads places in the image is given of a person: (t, 17, channels)."""
    points = keypoints.points_px.copy()
    if smooth is not None:
        points[..., :2] = smooth.smooth(points[..., :2], keypoints.fps)
    size = torch.tensor(keypoints.size_px, dtype=torch.float32)
    return normalise_screen(torch.from_numpy(points).float(), size)[..., :channels]


class CameFrom(NamedTuple):
    """What a lifted joint came from."""

    joint: str
    frame: int
    """Its frame, counted from 1."""
    frames: np.ndarray
    """(n,): those of the window that it was lifted in, counted from 1."""
    heat: np.ndarray
    """(n, 17) in [0, 1]: how much each frame's keypoints had a part in it."""


def came_from(
    net: nn.Module,
    keypoints: Keypoints,
    joint: str,
    frame: int | None = None,
    device: torch.device | str = "cpu",
    smooth: OneEuro | None = None,
    focal_px: float | None = None,
) -> CameFrom:
    """What a joint of one frame came from; see :func:`moga_st.analyse.gradcam.pose_cam`.

    Args:
        joint: its name, as :data:`moga_st.data.pose.skeleton.JOINTS` has it.
        frame: counted from 1; the middle one if left out.

    Raises:
        BadInput: no such joint or frame, or a network that torch does not run.
    """
    check_lifter(net)
    device, t = torch.device(device), len(keypoints.points_px)
    if isinstance(net, Standing):
        raise BadInput("what a joint came from is seen in torch alone; leave the runtime out")
    if not isinstance(net, (Lifter, PersonLifter)):
        raise BadInput(f"what a joint came from is seen in this package's own lifters; this is a {type(net).__name__}")
    if joint not in JOINTS:
        raise BadInput(f"joint: {joint!r} is none of {', '.join(JOINTS)}{nearest(joint, JOINTS)}")
    i = t // 2 if frame is None else frame - 1
    if not 0 <= i < t:
        raise BadInput(f"frame: expected 1 to {t}, got {frame}")
    length, every, at = net.config.frames, 1, None
    before = length // 2
    if is_person_lifter(net):
        size, every = keypoints.size_px, stride(keypoints.fps)
        focal_px = assumed_focal_px(size) if focal_px is None else focal_px
        rays = to_rays(_canonical(keypoints, smooth), size, focal_px, keypoints.fps)[i % every :: every]
        if net.config.last is not None:  # its window ends with the frame
            before, at = length - 1, -1
        numbers = i // every - before + np.arange(length)
        window = windows_of(rays, numbers[:1], length, every / keypoints.fps)[0]
    else:
        numbers = i - before + np.arange(length)
        window = _screen(keypoints, smooth, net.config.channels)[np.clip(numbers, 0, t - 1)]
    heat = pose_cam(net, window.to(device), JOINTS.index(joint), at).cpu().numpy()
    frames = numbers * every + i % every
    there = (frames >= 0) & (frames < t)  # beyond the ends a frame is repeated
    return CameFrom(joint, i + 1, frames[there] + 1, heat[there])


def lift_shot(
    net: nn.Module, shot: Shot, device: torch.device, focal_px: float | None = None, overlap: bool = True
) -> np.ndarray:
    """Poses (t, 17, 3) of a check, in camera space if the lifter gives the root's path, else root-relative: as `lift`
    has them but unsmoothed, or without ``overlap`` from windows side by side.  A lifter of 17 joints sees what `lift`
    gives it: the layout converted, unseen joints filled in."""
    check_lifter(net)
    if is_person_lifter(net):
        return lift_person(net, shot.keypoints, shot.size_px, shot.fps, device, focal_px, overlap)
    length, channels = _window(net)
    points = shot.seen17()
    filled, _ = fill(points.astype(np.float64), points[..., 2] <= 0, round(GAP_S * shot.fps))
    size = torch.tensor(shot.size_px, dtype=torch.float32)
    screen = normalise_screen(torch.from_numpy(filled).float(), size)[..., :channels].to(device)
    poses = lift_overlapping(net, screen, length, BATCH, overlap)
    return poses - poses[:, :1]


def upright(poses_m: np.ndarray) -> np.ndarray:
    """Camera axes (x right, y down, z forward) -> x right, y away from the camera, z up: (t, 17, 3)."""
    return np.stack([poses_m[..., 0], poses_m[..., 2], -poses_m[..., 1]], axis=-1)
