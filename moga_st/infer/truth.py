"""Lifted motion scored against known poses.

Shape legend: ``t`` frames, 17 joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moga_st import storage
from moga_st.data.pose.export.motion import Motion, read_npz
from moga_st.errors import BadInput
from moga_st.metrics import pose as metrics

CONVENTIONS = {
    "mpjpe_mm": "protocol #1: mean distance of the joints, both poses relative to their hips",
    "p_mpjpe_mm": "protocol #2: the same after Procrustes alignment of each frame with scale",
    "n_mpjpe_mm": "protocol #3: the same as #1 after the best scale of each frame",
    "mpjve_mm": "velocity error of the root-relative joints, mm from frame to frame",
    "root_mm": "mean distance of the hip from where it is",
}
_TURNED = {"world": "world", "camera": "camera", "root": "camera"}  # in whose axes poses of a space are
_LARGEST_M = 3.0  # larger bodies are not in metres


@dataclass(frozen=True, eq=False)
class Truth:
    """One person's known poses."""

    path: Path
    poses_m: np.ndarray  # (t, 17, 3), z up, y away from the camera
    frame: np.ndarray | None  # (t,) numbers in the source; None where the file does not say
    space: str | None  # "world", "camera" or "root"; None where it does not say

    def of(self, motion: Motion, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the frames that both have, in the motion and here.

        Args:
            first: number in the source of the first frame here, where the file does not say.
        """
        numbers = np.arange(len(self.poses_m)) + first if self.frame is None else self.frame
        _, ours, theirs = np.intersect1d(motion.frame, numbers, return_indices=True)
        return ours, theirs


def read_truth(path: Path) -> Truth:
    """Known poses: an npz as :func:`moga_st.data.pose.export.motion.write_npz` writes it, of which ``poses_m`` and
    ``fps`` are enough, or a .npy of poses (t, 17, 3).

    Raises:
        BadInput: no such file, not poses of the 17 joints, or numbers that are not metres.
    """
    if path.suffix not in (".npy", ".npz"):
        raise BadInput(f"{path}: expected poses as `lift` writes them (.npz), or a .npy of (t, 17, 3) in metres")
    if path.suffix == ".npy":
        poses, frame, space = storage.read_npy(path), None, None
        if poses.ndim != 3 or poses.shape[1:] != (17, 3) or not np.issubdtype(poses.dtype, np.floating):
            raise BadInput(f"{path}: expected floats (t, 17, 3), poses in metres, got {poses.dtype} {poses.shape}")
        if not len(poses) or not np.isfinite(poses).all():
            raise BadInput(f"{path}: has no frames, or values that are not finite; give poses in metres")
    else:
        said = storage.read_npz(path, {"frame", "space"})
        motion = read_npz(path)
        poses = motion.poses_m
        frame, space = motion.frame if "frame" in said else None, motion.space if "space" in said else None
    size_m = float(np.median(np.ptp(poses, axis=1).max(-1)))
    if not 0.3 < size_m < _LARGEST_M:
        raise BadInput(f"{path}: bodies of {size_m:.4g} m; poses must be in metres")
    return Truth(path, poses, frame, space)


def score(motion: Motion, truth: Truth, first: int = 0) -> dict[str, Any]:
    """How far a lifted person is from the truth, by the conventions named; all joints and common frames count alike.

    Args:
        first: see :meth:`Truth.of`.

    Raises:
        BadInput: no frame in common, or poses that lie in other axes.
    """
    if truth.space is not None and _TURNED[truth.space] != _TURNED[motion.space]:
        raise BadInput(
            f"{truth.path}: its poses are in the space {truth.space!r}, the lifted ones in {motion.space!r}; lift with "
            f"`space` {truth.space}"
        )
    ours, theirs = truth.of(motion, first)
    if not len(ours):
        raise BadInput(
            f"{truth.path}: has no frame of person {motion.person}, who is in frames {motion.frame[0]} to "
            f"{motion.frame[-1]}"
        )
    pred, true = (torch.from_numpy(x[i] * 1000.0) for x, i in ((motion.poses_m, ours), (truth.poses_m, theirs)))
    pose, target = pred - pred[:, :1], true - true[:, :1]
    values = {
        "mpjpe_mm": metrics.mpjpe(pose, target),
        "p_mpjpe_mm": metrics.p_mpjpe(pose, target),
        "n_mpjpe_mm": metrics.n_mpjpe(pose, target),
    }
    steps = np.flatnonzero(np.diff(ours) == 1)  # from a frame of the motion to its next
    if len(steps):
        values["mpjve_mm"] = metrics.mpjpe(pose[steps + 1] - pose[steps], target[steps + 1] - target[steps])
    if motion.space != "root" and true[:, 0].any():
        values["root_mm"] = (pred[:, 0] - true[:, 0]).norm(dim=-1)
    return {"frames": len(ours), **{name: round(value.mean().item(), 2) for name, value in values.items()}}
