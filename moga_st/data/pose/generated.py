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

from collections.abc import Callable

import numpy as np

from moga_st.data.draws import named_uniform
from moga_st.data.pose.skeleton import JOINTS
from moga_st.errors import BadInput, nearest

FPS = 50

LIMITS_DEG = {
    "pelvis_pitch": (-20, 60),  # forward, on the ground and not against a neighbour
    "pelvis_roll": (-15, 15),  # to the right
    "spine_pitch": (-25, 70),
    "spine_roll": (-30, 30),
    "spine_yaw": (-40, 40),  # to the left
    "neck_pitch": (-40, 50),
    "neck_roll": (-35, 35),
    "neck_yaw": (-65, 65),
    "hip_flex": (-30, 120),  # thigh forward
    "hip_abduct": (-20, 45),  # away from the other leg
    "hip_twist": (-35, 35),  # toes inwards
    "knee": (0, 145),  # heel to the back of the thigh
    "shoulder_flex": (-50, 175),  # arm forward and up
    "shoulder_abduct": (-20, 150),  # away from the trunk
    "shoulder_twist": (-80, 80),  # forearm inwards
    "elbow": (0, 145),
}
"""Joint limits. In a pose the last seven are there for each side, as ``l_hip_flex`` and ``r_hip_flex``."""

Pose = dict[str, np.ndarray]


class _Take:
    """Seconds ``s`` (t,) and the random numbers of one clip, drawn in the order they are asked for."""

    def __init__(self, name: str, frames: int):
        self.s = np.arange(frames) / FPS
        self._draws = iter(named_uniform(name, 1, 1024)[0].tolist())

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._draws)

    def side(self) -> tuple[str, str]:
        """A side and the other one."""
        return ("l_", "r_") if self.between(0, 1) < 0.5 else ("r_", "l_")

    def sway(self, size: float) -> np.ndarray:
        """A slow, irregular curve within -size and size: what a body does besides what it means to do."""
        waves = [np.sin(2 * np.pi * (self.between(0.1, 0.6) * self.s + self.between(0, 1))) for _ in range(3)]
        return size / 3 * sum(waves, np.zeros_like(self.s))

    def cycles(self, low_hz: float, high_hz: float) -> np.ndarray:
        """Phase in turns of something that repeats with a rate between the two, starting anywhere."""
        return self.between(low_hz, high_hz) * self.s + self.between(0, 1)


def _bump(phase: np.ndarray, start: float, end: float, rise: float) -> np.ndarray:
    """Of each turn of ``phase``: 0, rises smoothly to 1 before ``start``, stays until ``end``, falls to 0.

    ``rise`` is how long, in turns, the rise and the fall take; they must fit beside start and end.
    """
    u = (phase - (start + end) / 2 + 0.5) % 1 - 0.5  # -0.5 to 0.5 around the middle
    x = np.clip(((end - start) / 2 + rise - np.abs(u)) / rise, 0, 1)
    return x * x * x * (10 - 15 * x + 6 * x * x)  # smooth to the second derivative


def _stand(take: _Take, arms: float = 1.0) -> Pose:
    """Upright, arms down, swaying a little: what the actions start from."""
    pose = {}
    for name in LIMITS_DEG:
        sides = ("l_", "r_") if name.startswith(("hip", "knee", "shoulder", "elbow")) else ("",)
        size = 6.0 * arms if name.startswith(("shoulder", "elbow")) else 2.0
        size = 10.0 if name == "neck_yaw" else size
        for side in sides:
            pose[side + name] = take.sway(size)
    for side in ("l_", "r_"):
        pose[side + "hip_abduct"] += take.between(2, 7)
        pose[side + "hip_twist"] -= take.between(2, 8)
        pose[side + "shoulder_abduct"] += take.between(8, 16)
        pose[side + "elbow"] += take.between(10, 25)
        bend = take.between(2, 6) + take.sway(2.0)
        _bend_leg(pose, side, bend)
    return pose


def _bend_leg(pose: Pose, side: str, angle: np.ndarray | float) -> None:
    """Bends hip and knee so that the foot stays below the hip: thigh and shin are about equally long."""
    pose[side + "hip_flex"] = pose[side + "hip_flex"] + angle
    pose[side + "knee"] = pose[side + "knee"] + 2 * angle


def _lean(pose: Pose, angle: np.ndarray) -> None:
    """Tilts the pelvis forward and leaves the legs where they are."""
    pose["pelvis_pitch"] = pose["pelvis_pitch"] + angle
    for side in ("l_", "r_"):
        pose[side + "hip_flex"] = pose[side + "hip_flex"] + angle


def _stride(pose: Pose, phase: np.ndarray, swing: float, lift: float, arms: float, forward: float) -> None:
    """Legs and arms of walking: phase 0 is the left leg passing forwards beneath the body."""
    for side, turn in (("l_", phase), ("r_", phase + 0.5)):
        wave = 2 * np.pi * turn
        pose[side + "hip_flex"] = pose[side + "hip_flex"] + forward + swing * np.sin(wave)
        passing = (0.5 + 0.5 * np.cos(wave + 0.15)) ** 2  # the knee is bent most as the leg passes
        pose[side + "knee"] = pose[side + "knee"] + lift * passing
        pose[side + "shoulder_flex"] = pose[side + "shoulder_flex"] - arms * np.sin(wave)
        pose[side + "elbow"] = pose[side + "elbow"] + 0.4 * arms * (1 - np.sin(wave))
    pose["spine_yaw"] = pose["spine_yaw"] + 0.25 * swing * np.sin(2 * np.pi * phase)
    pose["pelvis_roll"] = pose["pelvis_roll"] - 3 * np.cos(2 * np.pi * phase)  # down on the passing leg's side


# Each action gives the pose, the heading (degrees to the left, or None) and the height above the floor in
# metres (or None) of every frame.
Motion = tuple[Pose, np.ndarray | None, np.ndarray | None]


def _walk(take: _Take) -> Motion:
    pose = _stand(take)
    _stride(pose, take.cycles(0.75, 1.05), take.between(20, 28), take.between(48, 62), take.between(12, 28), 4)
    return pose, take.between(-35, 35) * take.s + take.sway(25), None


def _run(take: _Take) -> Motion:
    pose, phase = _stand(take), take.cycles(1.2, 1.5)
    _stride(pose, phase, take.between(28, 36), take.between(55, 75), take.between(22, 34), 10)
    _lean(pose, np.full_like(take.s, take.between(4, 10)))
    for side in ("l_", "r_"):
        pose[side + "elbow"] += take.between(45, 65)
        pose[side + "knee"] += 12
    hop = take.between(0.03, 0.06) * np.sin(2 * np.pi * phase) ** 2  # in the air when the legs are apart
    return pose, take.between(-60, 60) * take.s + take.sway(20), hop


def _jump(take: _Take) -> Motion:
    pose, phase = _stand(take), take.cycles(0.38, 0.5)
    crouch = _bump(phase, 0.24, 0.27, 0.17) + 0.7 * _bump(phase, 0.67, 0.68, 0.11)
    flight = _bump(phase, 0.5, 0.5, 0.13)
    for side in ("l_", "r_"):
        _bend_leg(pose, side, take.between(38, 50) * crouch + 8 * flight)
        pose[side + "shoulder_flex"] += take.between(80, 130) * _bump(phase, 0.47, 0.53, 0.26) - 35 * crouch
    _lean(pose, take.between(20, 32) * crouch)
    return pose, take.sway(10), take.between(0.2, 0.4) * flight


def _wave(take: _Take) -> Motion:
    pose, (side, _) = _stand(take), take.side()
    up = _bump(take.cycles(0.12, 0.2), 0.3, 0.7, 0.2)
    shake = np.sin(2 * np.pi * take.cycles(1.0, 1.8))
    pose[side + "shoulder_abduct"] += take.between(60, 90) * up
    pose[side + "shoulder_twist"] -= 70 * up  # the forearm upwards
    pose[side + "elbow"] += up * (take.between(50, 70) + take.between(15, 28) * shake)
    pose["neck_roll"] += take.between(-10, 10) * up
    return pose, take.sway(15), None


def _squat(take: _Take) -> Motion:
    pose, down = _stand(take), _bump(take.cycles(0.25, 0.4), 0.47, 0.53, 0.3)
    depth, reach = take.between(40, 64), take.between(40, 90)
    for side in ("l_", "r_"):
        _bend_leg(pose, side, depth * down)
        pose[side + "hip_abduct"] += 10 * down
        pose[side + "shoulder_flex"] += reach * down
    _lean(pose, take.between(20, 35) * down)
    return pose, take.sway(8), None


def _box(take: _Take) -> Motion:
    pose, (lead, rear) = _stand(take, arms=0.5), take.side()
    phase = take.cycles(0.5, 0.9)
    for side, at, forward in ((lead, 0.25, 12.0), (rear, 0.7, -8.0)):
        punch = _bump(phase, at, at + 0.02, 0.17)
        _bend_leg(pose, side, take.between(10, 18))
        pose[side + "hip_flex"] += forward  # one foot before the other
        pose[side + "shoulder_flex"] += 35 + take.between(45, 55) * punch
        pose[side + "elbow"] += 95 * (1 - punch)
        pose[side + "shoulder_twist"] += 20
        pose["spine_yaw"] += (25 if side == "r_" else -25) * punch
    _lean(pose, np.full_like(take.s, take.between(3, 10)))
    return pose, take.sway(30), None


def _turn(take: _Take) -> Motion:
    pose, phase = _stand(take), take.cycles(0.8, 1.1)
    way, rest = take.between(60, 110), take.cycles(0.1, 0.15)
    speed = _bump(rest, 0.25, 0.75, 0.2) * (way if take.between(0, 1) < 0.5 else -way)
    step = np.abs(speed) / way
    for side, turn in (("l_", phase), ("r_", phase + 0.5)):
        _bend_leg(pose, side, take.between(18, 30) * step * (0.5 + 0.5 * np.cos(2 * np.pi * turn)) ** 2)
        pose[side + "shoulder_flex"] -= 8 * step * np.sin(2 * np.pi * turn)
    pose["neck_yaw"] += 0.25 * speed
    return pose, np.cumsum(speed) / FPS, None


def _sit(take: _Take) -> Motion:
    pose, phase = _stand(take), take.cycles(0.12, 0.2)
    down = _bump(phase, 0.35, 0.65, 0.25)
    moving = _bump(phase, 0.22, 0.22, 0.2) + _bump(phase, 0.78, 0.78, 0.2)
    seat = take.between(75, 90)
    for side in ("l_", "r_"):
        pose[side + "hip_flex"] += seat * down
        pose[side + "knee"] += (seat + take.between(-5, 15)) * down
        pose[side + "shoulder_flex"] += take.between(25, 45) * down
        pose[side + "elbow"] += take.between(20, 50) * down
    _lean(pose, take.between(25, 40) * moving)
    return pose, take.sway(5), None


def _pick_up(take: _Take) -> Motion:
    pose, (side, other) = _stand(take), take.side()
    down = _bump(take.cycles(0.18, 0.28), 0.45, 0.55, 0.3)
    _lean(pose, take.between(38, 54) * down)
    pose["spine_pitch"] += take.between(30, 48) * down
    pose["neck_pitch"] -= 15 * down
    pose[side + "shoulder_flex"] += take.between(60, 90) * down
    pose[other + "shoulder_flex"] += take.between(0, 40) * down
    for leg in ("l_", "r_"):
        _bend_leg(pose, leg, take.between(25, 32) * down)
    return pose, take.sway(20), None


def _kick(take: _Take) -> Motion:
    pose, (side, other) = _stand(take), take.side()
    phase = take.cycles(0.35, 0.5)
    back, through = _bump(phase, 0.24, 0.26, 0.18), _bump(phase, 0.5, 0.54, 0.16)
    pose[side + "hip_flex"] += take.between(55, 80) * through - 20 * back
    pose[side + "knee"] += take.between(60, 85) * back + 5 * through
    _bend_leg(pose, other, 6 + 6 * through)
    pose[other + "shoulder_flex"] += 40 * through - 10 * back
    pose[side + "shoulder_flex"] -= 30 * through
    pose["spine_pitch"] -= 8 * through
    return pose, take.sway(20), None


def _stretch(take: _Take) -> Motion:
    pose = _stand(take)
    for name, size in (("spine_roll", 24), ("spine_yaw", 30), ("spine_pitch", 15), ("neck_pitch", 20)):
        pose[name] = pose[name] + take.sway(size)
    for side in ("l_", "r_"):
        pose[side + "shoulder_flex"] += 50 + take.sway(70)
        pose[side + "shoulder_abduct"] += 50 + take.sway(55)
        pose[side + "shoulder_twist"] += take.sway(60)
        pose[side + "elbow"] += 35 + take.sway(50)
        pose[side + "hip_abduct"] += 8
    return pose, take.sway(40), None


def _talk(take: _Take) -> Motion:
    pose = _stand(take)
    for side in ("l_", "r_"):
        lively = 0.5 + take.sway(0.5)
        beat = np.sin(2 * np.pi * take.cycles(0.6, 1.2))
        pose[side + "shoulder_flex"] += 20 + lively * (15 + 15 * beat)
        pose[side + "shoulder_twist"] += take.sway(35)
        pose[side + "elbow"] += 45 + lively * (15 - 25 * beat)
    pose["neck_pitch"] += take.sway(10)
    return pose, take.sway(35), None


_MOTIONS: dict[str, Callable[[_Take], Motion]] = {
    "walk": _walk,
    "run": _run,
    "jump": _jump,
    "wave": _wave,
    "squat": _squat,
    "box": _box,
    "turn": _turn,
    "sit": _sit,
    "pick_up": _pick_up,
    "kick": _kick,
    "stretch": _stretch,
    "talk": _talk,
}

ACTIONS = tuple(_MOTIONS)
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
    if action not in _MOTIONS:
        raise BadInput(f"action {action!r} is not among {', '.join(ACTIONS)}{nearest(action, ACTIONS)}")
    if frames < 1:
        raise BadInput(f"frames: expected at least 1, got {frames}")
    clip = _Take(f"moga_st motion {subject} {action} {take}", frames)
    facing = clip.between(0, 360)
    pose, heading, air_m = _MOTIONS[action](clip)
    pose = {
        name: np.clip(angle, *LIMITS_DEG[name.removeprefix("l_").removeprefix("r_")]) for name, angle in pose.items()
    }
    body, ankle_m = _body(subject)
    joints = _place(body, pose, facing + (0.0 if heading is None else heading) + np.zeros(frames))
    return _ground(joints, ankle_m, np.zeros(frames) if air_m is None else air_m).astype(np.float32)
