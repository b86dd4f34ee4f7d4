"""A body that walks on the spot, for pages of poses."""

import numpy as np

from moga_st.data.pose.export.motion import Motion
from moga_st.data.pose.skeleton import JOINTS, LEFT

STANDING_M = {
    **{"Hip": (0, 0, 0.9), "RHip": (0.13, 0, 0.9), "RKnee": (0.14, 0, 0.48), "RFoot": (0.14, 0.03, 0.06)},
    **{"LHip": (-0.13, 0, 0.9), "LKnee": (-0.14, 0, 0.48), "LFoot": (-0.14, 0.03, 0.06), "Spine": (0, 0, 1.13)},
    **{"Thorax": (0, 0, 1.38), "Neck/Nose": (0, -0.05, 1.5), "Head": (0, 0, 1.62)},
    **{"LShoulder": (-0.17, 0, 1.36), "LElbow": (-0.3, 0, 1.1), "LWrist": (-0.34, -0.1, 0.88)},
    **{"RShoulder": (0.17, 0, 1.36), "RElbow": (0.3, 0, 1.1), "RWrist": (0.34, -0.1, 0.88)},
}


def poses(frames: int = 20) -> np.ndarray:
    """(t, 17, 3) in metres, z up: feet and wrists swing, left against right."""
    body = np.array([STANDING_M[name] for name in JOINTS])
    swing = np.sin(np.arange(frames) / 25 * 2 * np.pi)
    reach = np.array(
        [0.22 * (name[1:] in ("Foot", "Wrist")) * (1 if j in LEFT else -1) for j, name in enumerate(JOINTS)]
    )
    moved = np.repeat(body[None], frames, 0)
    moved[..., 1] += swing[:, None] * reach
    return moved


def walking(frames: int = 20):
    """Keypoints, size, rate, poses and truth, as a LiftedClip takes them."""
    truth = poses(frames)
    places = np.stack([500 + 300 * truth[..., 0] + 200 * truth[..., 1], 800 - 400 * truth[..., 2]], -1)
    keypoints = np.concatenate([places, np.ones((frames, 17, 1))], -1)
    return keypoints, (1000, 1000), 25.0, truth + 0.02, truth


def motion(person: int, first: int = 0, aside: float = 0.0, invented: slice = slice(0)) -> Motion:
    """20 frames at 25 a second from frame ``first`` on; the left foot stands in the first ten."""
    keypoints, size, fps, made, _ = walking()
    keypoints[invented, :, 2] = 0.0
    number = np.arange(first, first + 20)
    contacts = np.stack([np.arange(20) < 10, np.zeros(20, bool)], 1)
    moved = made + np.array([aside, 0.0, 0.0])
    return Motion(moved, fps, number, number / fps, "world", keypoints[..., 2], contacts, keypoints, size, person)
