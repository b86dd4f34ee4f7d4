"""From a person's keypoints of any length to 3D poses: windows, mirrored averaging, axes.

Shape legend: ``t`` frames, 17 joints of Human3.6M.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from moga_st.data.pose.camera import normalise_screen
from moga_st.data.pose.keypoints import Keypoints
from moga_st.data.pose.smoothing import OneEuro
from moga_st.errors import BadInput
from moga_st.infer.windows import lift_overlapping
from moga_st.models.lifter import Lifter

BATCH = 64  # windows at once: bounds memory


def check_lifter(net: nn.Module) -> Lifter:
    """The net itself.

    Raises:
        BadInput: it is no lifter.
    """
    if not isinstance(net, Lifter):
        raise BadInput(f"the weights hold a {type(net).__name__}; lift needs a pose lifter")
    return net


@torch.no_grad()
def lift(net: nn.Module, keypoints: Keypoints, device: torch.device, smooth: OneEuro | None = None) -> np.ndarray:
    """Root-relative poses (t, 17, 3) in metres, in the camera's axes (x right, y down, z forward).

    Windows of the length the net was trained on overlap by half and are blended; each prediction is averaged
    with that of its mirror image.  ``smooth`` filters the keypoints first.

    Raises:
        BadInput: the net is no lifter.
    """
    net = check_lifter(net)
    points = keypoints.points_px.copy()
    if smooth is not None:
        points[..., :2] = smooth.smooth(points[..., :2], keypoints.fps)
    size = torch.tensor(keypoints.size_px, dtype=torch.float32)
    screen = normalise_screen(torch.from_numpy(points).float(), size)[..., : net.config.channels]
    poses = lift_overlapping(net, screen.to(device), net.config.frames, BATCH)
    return poses - poses[:, :1]


def upright(poses_m: np.ndarray) -> np.ndarray:
    """Camera axes (x right, y down, z forward) -> x right, y away from the camera, z up: (t, 17, 3)."""
    return np.stack([poses_m[..., 0], poses_m[..., 2], -poses_m[..., 1]], axis=-1)
