"""Generated motion for a demo that needs no data: an articulated 17-joint body with human bone lengths and
joint limits that walks, runs, jumps, waves, squats and more.

It is animation and no motion capture: joint angles are sums of smooth curves, the body is moved by forward
kinematics, and the foot that is on the floor stays where it is, which carries the body along.  A model
trained on it says nothing about people.

Axes: metres, z up, the floor at z = 0.  A body that has not turned faces +y with its right side to +x.

Shape legend: ``t`` frames at 50 fps, ``j`` the 17 joints of :mod:`moga_st.data.pose.skeleton`.  Angles are in
degrees and (t,) arrays.
"""

from __future__ import annotations

import numpy as np

from moga_st.data.draws import named_uniform
from moga_st.data.pose.generated_motions import LIMITS_DEG, MOTIONS, Pose, Take
from moga_st.data.pose.skeleton import JOINTS
from moga_st.errors import BadInput, nearest

ACTIONS = tuple(MOTIONS)
"""What a body can do."""

# Offsets from the parent joint, standing straight with the arms down, as fractions of the stature (the
# height of the Head joint when so standing); those of the left side are the right's, mirrored.  Lengths are
# near the mean of anthropometric tables; a subject differs by a few per cent in each group.
_ANKLE = 0.045
_RIGHT = {
    "RHip": ("width", (0.055, 0.0, 0.0)),
    "RKnee": ("leg", (0.0, 0.0, -0.255)),
    "RFoot": ("leg", (0.0, 0.0, -0.25)),
    "Spine": ("trunk", (0.0, -0.012, 0.14)),
    "Thorax": ("trunk", (0.0, -0.005, 0.17)),
    "Neck/Nose": ("head", (0.0, 0.035, 0.06)),
    "Head": ("head", (0.0, -0.025, 0.08)),
    "RShoulder": ("width", (0.1, 0.0, -0.02)),
    "RElbow": ("arm", (0.0, 0.0, -0.172)),
    "RWrist": ("arm", (0.0, 0.0, -0.155)),
}


def _body(subject: int) -> tuple[dict[str, np.ndarray], float]:
    """Offsets (3,) of the joints from their parents, and the ankle's height, in metres."""
    u = named_uniform(f"moga_st subject {subject}", 1, 6)[0].tolist()
    stature = 1.55 + 0.35 * u[0]
    group = {name: 0.95 + 0.1 * x for name, x in zip(("width", "leg", "trunk", "head", "arm"), u[1:], strict=True)}
    body = {}
    for name, (part, offset) in _RIGHT.items():
        body[name] = stature * group[part] * np.array(offset)
        if name[0] == "R":
            body["L" + name[1:]] = body[name] * (-1, 1, 1)
    return body, stature * _ANKLE


def _rotation(axis: int, degrees: np.ndarray) -> np.ndarray:
    """(t,) -> (t, 3, 3) about x, y or z, counter-clockwise seen from the axis' tip."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    out = np.zeros((len(c), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[:, axis, axis] = 1
    out[:, i, i] = out[:, j, j] = c
    out[:, j, i], out[:, i, j] = s, -s
    return out


def _place(body: dict[str, np.ndarray], pose: Pose, heading: np.ndarray) -> np.ndarray:
    """Forward kinematics: joints (t, 17, 3) with the hip at the origin."""

    def trunk(name: str) -> np.ndarray:
        roll, pitch = _rotation(1, pose[name + "_roll"]), _rotation(0, -pose[name + "_pitch"])
        return _rotation(2, pose[name + "_yaw"]) @ roll @ pitch if name + "_yaw" in pose else roll @ pitch

    def ball(name: str, side: int) -> np.ndarray:
        out, inwards = _rotation(1, -side * pose[name + "_abduct"]), _rotation(2, side * pose[name + "_twist"])
        return _rotation(0, pose[name + "_flex"]) @ out @ inwards

    at = {"Hip": np.zeros((len(heading), 3))}

    def put(joint: str, parent: str, frame: np.ndarray) -> None:
        at[joint] = at[parent] + frame @ body[joint]

    pelvis = _rotation(2, heading) @ trunk("pelvis")
    chest = pelvis @ trunk("spine")
    neck = chest @ trunk("neck")
    put("Spine", "Hip", pelvis)
    put("Thorax", "Spine", chest)
    put("Neck/Nose", "Thorax", neck)
    put("Head", "Neck/Nose", neck)
    for s, side in (("R", 1), ("L", -1)):
        thigh = pelvis @ ball(s.lower() + "_hip", side)
        upper_arm = chest @ ball(s.lower() + "_shoulder", side)
        put(s + "Hip", "Hip", pelvis)
        put(s + "Knee", s + "Hip", thigh)
        put(s + "Foot", s + "Knee", thigh @ _rotation(0, -pose[s.lower() + "_knee"]))
        put(s + "Shoulder", "Thorax", chest)
        put(s + "Elbow", s + "Shoulder", upper_arm)
        put(s + "Wrist", s + "Elbow", upper_arm @ _rotation(0, pose[s.lower() + "_elbow"]))
    return np.stack([at[name] for name in JOINTS], axis=1)


def _ground(joints: np.ndarray, ankle_m: float, air_m: np.ndarray) -> np.ndarray:
    """Puts the lower foot on the floor and keeps it from sliding: (t, 17, 3) about the hip -> in the world."""
    feet = joints[:, [JOINTS.index("LFoot"), JOINTS.index("RFoot")]]  # (t, 2, 3)
    # How much each foot carries, changing hands within some centimetres, so that no foot hits the floor
    # with a jolt.  The smooth minimum lies below both feet, so neither goes through the floor.
    sharpness = 60.0
    rise = np.exp(-sharpness * (feet[..., 2] - feet[..., 2].min(1, keepdims=True)))
    weight = rise / rise.sum(1, keepdims=True)
    lowest = feet[..., 2].min(1) - np.log(rise.sum(1)) / sharpness
    carried = (weight[1:] + weight[:-1])[..., None] / 2 * np.diff(feet[..., :2], axis=0)
    hip = np.zeros((len(joints), 3))
    hip[1:, :2] = -np.cumsum(carried.sum(1), axis=0)
    hip[:, 2] = ankle_m - lowest + air_m
    return joints + hip[:, None]


def generate_clip(subject: int, action: str, take: int, frames: int) -> np.ndarray:
    """One clip: (frames, 17, 3) float32 in metres in the world, at 50 fps, that starts near the origin.

    A pure function of its arguments: ``subject`` gives the body, (subject, action, take) the motion, and
    more frames continue the same motion.

    Raises:
        BadInput: an unknown action, or no frames.
    """
    if action not in MOTIONS:
        raise BadInput(f"action {action!r} is not among {', '.join(ACTIONS)}{nearest(action, ACTIONS)}")
    if frames < 1:
        raise BadInput(f"frames: expected at least 1, got {frames}")
    clip = Take(f"moga_st motion {subject} {action} {take}", frames)
    facing = clip.between(0, 360)
    pose, heading, air_m = MOTIONS[action](clip)
    pose = {
        name: np.clip(angle, *LIMITS_DEG[name.removeprefix("l_").removeprefix("r_")]) for name, angle in pose.items()
    }
    body, ankle_m = _body(subject)
    joints = _place(body, pose, facing + (0.0 if heading is None else heading) + np.zeros(frames))
    return _ground(joints, ankle_m, np.zeros(frames) if air_m is None else air_m).astype(np.float32)
