"""What the generated body does: joint angles of walking, running, jumping and the like, as sums of smooth curves.

Shape legend: ``t`` frames at 50 fps.  Angles are in degrees and (t,) arrays.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moga_st.data.draws import named_uniform

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


class Take:
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


def _stand(take: Take, arms: float = 1.0) -> Pose:
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
_Motion = tuple[Pose, np.ndarray | None, np.ndarray | None]


def _walk(take: Take) -> _Motion:
    pose = _stand(take)
    _stride(pose, take.cycles(0.75, 1.05), take.between(20, 28), take.between(48, 62), take.between(12, 28), 4)
    return pose, take.between(-35, 35) * take.s + take.sway(25), None


def _run(take: Take) -> _Motion:
    pose, phase = _stand(take), take.cycles(1.2, 1.5)
    _stride(pose, phase, take.between(28, 36), take.between(55, 75), take.between(22, 34), 10)
    _lean(pose, np.full_like(take.s, take.between(4, 10)))
    for side in ("l_", "r_"):
        pose[side + "elbow"] += take.between(45, 65)
        pose[side + "knee"] += 12
    hop = take.between(0.03, 0.06) * np.sin(2 * np.pi * phase) ** 2  # in the air when the legs are apart
    return pose, take.between(-60, 60) * take.s + take.sway(20), hop


def _jump(take: Take) -> _Motion:
    pose, phase = _stand(take), take.cycles(0.38, 0.5)
    crouch = _bump(phase, 0.24, 0.27, 0.17) + 0.7 * _bump(phase, 0.67, 0.68, 0.11)
    flight = _bump(phase, 0.5, 0.5, 0.13)
    for side in ("l_", "r_"):
        _bend_leg(pose, side, take.between(38, 50) * crouch + 8 * flight)
        pose[side + "shoulder_flex"] += take.between(80, 130) * _bump(phase, 0.47, 0.53, 0.26) - 35 * crouch
    _lean(pose, take.between(20, 32) * crouch)
    return pose, take.sway(10), take.between(0.2, 0.4) * flight


def _wave(take: Take) -> _Motion:
    pose, (side, _) = _stand(take), take.side()
    up = _bump(take.cycles(0.12, 0.2), 0.3, 0.7, 0.2)
    shake = np.sin(2 * np.pi * take.cycles(1.0, 1.8))
    pose[side + "shoulder_abduct"] += take.between(60, 90) * up
    pose[side + "shoulder_twist"] -= 70 * up  # the forearm upwards
    pose[side + "elbow"] += up * (take.between(50, 70) + take.between(15, 28) * shake)
    pose["neck_roll"] += take.between(-10, 10) * up
    return pose, take.sway(15), None


def _squat(take: Take) -> _Motion:
    pose, down = _stand(take), _bump(take.cycles(0.25, 0.4), 0.47, 0.53, 0.3)
    depth, reach = take.between(40, 64), take.between(40, 90)
    for side in ("l_", "r_"):
        _bend_leg(pose, side, depth * down)
        pose[side + "hip_abduct"] += 10 * down
        pose[side + "shoulder_flex"] += reach * down
    _lean(pose, take.between(20, 35) * down)
    return pose, take.sway(8), None


def _box(take: Take) -> _Motion:
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


def _turn(take: Take) -> _Motion:
    pose, phase = _stand(take), take.cycles(0.8, 1.1)
    way, rest = take.between(60, 110), take.cycles(0.1, 0.15)
    speed = _bump(rest, 0.25, 0.75, 0.2) * (way if take.between(0, 1) < 0.5 else -way)
    step = np.abs(speed) / way
    for side, turn in (("l_", phase), ("r_", phase + 0.5)):
        _bend_leg(pose, side, take.between(18, 30) * step * (0.5 + 0.5 * np.cos(2 * np.pi * turn)) ** 2)
        pose[side + "shoulder_flex"] -= 8 * step * np.sin(2 * np.pi * turn)
    pose["neck_yaw"] += 0.25 * speed
    return pose, np.cumsum(speed) / FPS, None


def _sit(take: Take) -> _Motion:
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


def _pick_up(take: Take) -> _Motion:
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


def _kick(take: Take) -> _Motion:
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


def _stretch(take: Take) -> _Motion:
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


def _talk(take: Take) -> _Motion:
    pose = _stand(take)
    for side in ("l_", "r_"):
        lively = 0.5 + take.sway(0.5)
        beat = np.sin(2 * np.pi * take.cycles(0.6, 1.2))
        pose[side + "shoulder_flex"] += 20 + lively * (15 + 15 * beat)
        pose[side + "shoulder_twist"] += take.sway(35)
        pose[side + "elbow"] += 45 + lively * (15 - 25 * beat)
    pose["neck_pitch"] += take.sway(10)
    return pose, take.sway(35), None


MOTIONS: dict[str, Callable[[Take], _Motion]] = {
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
