"""From a camera's space to the world: where a person is, which way is up, where the floor is, which foot stands.

A lifter gives poses relative to the hip, in the axes of a camera that may look down and whose height nobody knows.

1. :func:`place` finds the hip's path in the camera's space: the one whose projection is nearest to the keypoints.
2. :func:`find_ground` levels the camera: from the way people who stand are upright, and from the plane their standing
   feet lie in; or by the pitch and roll that are given.

:mod:`moga_st.data.pose.standing` then puts each person on the floor.

The camera stands still and the floor is level.  Camera axes: x right, y down, z forward.  World axes: x right and y
forward of the camera, along the floor; z up; the origin on the floor, below the camera.  All in metres.  "Foot" is
Human3.6M's: the ankle.

Shape legend: ``t`` frames, 17 joints, 2 feet (left, right), 3 axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

from moga_st.data.pose.skeleton import JOINTS
from moga_st.errors import BadInput

ANKLE_M = 0.08
"""Height of the ankle of a foot that stands flat: CMU's subjects have a median of 0.085, and 0.07 to 0.11 m."""
FEET = tuple(JOINTS.index(name) for name in ("LFoot", "RFoot"))
KNEES = tuple(JOINTS.index(name) for name in ("LKnee", "RKnee"))
HIPS = tuple(JOINTS.index(name) for name in ("LHip", "RHip"))
THORAX = JOINTS.index("Thorax")

STILL_M_S, LIFTED_M, SHORTEST_S = 0.7, 0.07, 0.1  # a foot that stands is slower, lower, and does so for longer
JOINT_M, MEMORY_S = 0.03, 0.3  # error of a lifted joint, and for how long it stays what it is
PUSH_M_S2 = 12.0  # how much a hip accelerates
BODY_DEG, TRUNK_DEG, LEVEL_DEG = 4.0, 10.0, 15.0  # how well bodies, trunks and the habit of level cameras tell it


@dataclass(frozen=True, eq=False)
class Ground:
    """Which way is up and where the floor is, for a camera that stands still."""

    rotation: np.ndarray  # (3, 3): world = rotation @ camera, but for the height
    heights_m: tuple[float, ...]  # of the camera above the floor, as each person's feet have it
    note: str  # how it was found, for people and records

    @property
    def pitch_deg(self) -> float:
        """How far the camera looks down."""
        return -math.degrees(math.asin(np.clip(self.rotation[2, 2], -1, 1)))

    @property
    def roll_deg(self) -> float:
        """How far the camera is turned clockwise about its line of sight, as one who stands behind it sees it."""
        return -math.degrees(math.atan2(self.rotation[2, 0], -self.rotation[2, 1]))

    def to_world(self, camera_m: np.ndarray, person: int = 0) -> np.ndarray:
        """Points (..., 3) in the camera's space -> in the world."""
        return camera_m @ self.rotation.T + (0.0, 0.0, self.heights_m[person])


def place(
    poses_m: np.ndarray, keypoints_px: np.ndarray, focal_px: float, centre_px: Sequence[float], fps: float
) -> np.ndarray:
    """The hip's path (t, 3) in the camera's space: the smooth one from which the poses project to the keypoints.

    Each joint gives two equations that are linear in the hip's place T: with u the keypoint's place on the image plane
    at 1 m, (X + T_x) = u_x (Z + T_z), and the same in y.  They are solved for all frames at once by least squares with
    weights by confidence, and against accelerations beyond :data:`PUSH_M_S2`.

    Args:
        poses_m: (t, 17, 3) relative to the hip, in camera axes.
        keypoints_px: (t, 17, 3): x, y and confidence; 0 counts for nothing.

    Raises:
        BadInput: shapes that do not fit, a focal length or rate that is not positive, or no frame with two joints seen.
    """
    t = len(poses_m)
    if poses_m.shape != (t, 17, 3) or keypoints_px.shape != (t, 17, 3) or not t:
        raise BadInput(f"place: needs poses and keypoints (t, 17, 3), got {poses_m.shape} and {keypoints_px.shape}")
    if not (focal_px > 0 and fps > 0):
        raise BadInput(f"place: focal length and frame rate must be positive, got {focal_px} px and {fps} fps")
    u = (keypoints_px[..., :2] - np.asarray(centre_px)) / focal_px
    weight = np.where(np.isfinite(u).all(-1), np.clip(keypoints_px[..., 2], 0, 1), 0.0)
    if not ((weight > 0).sum(1) >= 2).any():
        raise BadInput("place: no frame shows two joints with a confidence above 0; the person's place is unknown")
    u = np.nan_to_num(u)
    pose = poses_m.astype(np.float64)
    lines = np.zeros((t, 17, 2, 3))
    lines[..., 0, 0] = lines[..., 1, 1] = 1.0
    lines[..., 2] = -u
    wanted = u * pose[..., 2:] - pose[..., :2]
    scaled = lines * weight[..., None, None] / (JOINT_M**2 * max(MEMORY_S * fps, 1.0))
    normal = np.einsum("tjai,tjak->tik", scaled, lines)
    path = solve(normal, np.einsum("tjai,tja->ti", scaled, wanted), bends(t, fps, PUSH_M_S2))
    if not (path[:, 2] > 0).all():
        raise BadInput(
            "the poses and the keypoints do not go together: the person would be behind the camera; lift relative to "
            "the hip, with `space` root"
        )
    return path


def find_ground(
    people: Sequence[np.ndarray], fps: float, pitch_deg: float | None = None, roll_deg: float | None = None
) -> Ground:
    """Level the camera by the people it sees.

    People who stand, their legs straight and their trunk in line with them, are upright on average: that tells the
    vertical to about :data:`BODY_DEG`.  Where feet stand they lie in the floor's plane, which tells the tilt along
    the way that people walk; both go into one least-squares fit.  Where nobody stands, trunks take the place of
    bodies, and where those are more than 60 degrees off the image's vertical, the camera is taken for level.

    Args:
        people: of each person the joints in the camera's space (t, 17, 3), not relative to the hip.
        pitch_deg: how far the camera looks down, if known; then nothing is estimated but the height.
        roll_deg: how far it is turned clockwise; 0 if only the pitch is given.

    Raises:
        BadInput: nobody, wrong shapes, values that are not finite, or angles beyond 90 degrees.
    """
    for joints in people:
        if joints.ndim != 3 or joints.shape[1:] != (17, 3) or not len(joints) or not np.isfinite(joints).all():
            raise BadInput(f"find_ground: needs finite joints (t, 17, 3) of each person, got {joints.shape}")
    if not people or not fps > 0:
        raise BadInput(f"find_ground: needs a person and a positive frame rate, got {len(people)} and {fps}")
    if any(a is not None and not abs(a) <= 90 for a in (pitch_deg, roll_deg)):
        raise BadInput(f"pitch and roll must lie within 90 degrees, got {pitch_deg} and {roll_deg}")
    if pitch_deg is not None or roll_deg is not None:
        up, how = _up(pitch_deg or 0.0, roll_deg or 0.0), "as given"
    else:
        up, how = _level(people, fps)
    rotation = _axes(up)
    heights = tuple(_height(joints @ rotation.T, fps) for joints in people)
    ground = Ground(rotation, heights, "")
    note = f"camera {ground.pitch_deg:.1f} degrees down, {ground.roll_deg:.1f} clockwise ({how}), "
    return Ground(rotation, heights, note + f"{np.median(heights):.2f} m above the floor")


def contacts(world_m: np.ndarray, fps: float) -> np.ndarray:
    """When the left and the right foot stand: (t, 17, 3) over the floor z = 0 -> (t, 2) bool.

    A foot stands while its ankle is slower than :data:`STILL_M_S` and less than :data:`LIFTED_M` above the height of
    a flat foot's, for :data:`SHORTEST_S` or longer.
    """
    feet = world_m[:, FEET].astype(np.float64)
    return _runs((_speed(feet, fps) < STILL_M_S) & (feet[..., 2] < ANKLE_M + LIFTED_M), fps)


def _up(pitch_deg: float, roll_deg: float) -> np.ndarray:
    """The vertical in camera axes."""
    pitch, roll = math.radians(pitch_deg), math.radians(roll_deg)
    return np.array([-math.sin(roll) * math.cos(pitch), -math.cos(roll) * math.cos(pitch), -math.sin(pitch)])


def _axes(up: np.ndarray) -> np.ndarray:
    """The world's axes as rows, in camera axes: z up, y the line of sight laid on the floor."""
    forward = np.array([0.0, 0.0, 1.0])
    if abs(up[2]) > 0.98:  # a camera that looks straight down: forward is where the top of the image is
        forward = np.array([0.0, -1.0, 0.0])
    forward = forward - up * (up @ forward)
    forward /= np.linalg.norm(forward)
    return np.stack([np.cross(forward, up), forward, up])


def _level(people: Sequence[np.ndarray], fps: float) -> tuple[np.ndarray, str]:
    """The vertical in camera axes, and how it was found."""
    upright = np.concatenate([_upright(joints) for joints in people])
    trunk = _middle(np.concatenate([joints[:, THORAX] - joints[:, 0] for joints in people]))
    standing = _middle(upright) if len(upright) >= 0.5 * fps else np.zeros(3)
    if standing @ _up(0.0, 0.0) > 0.5:  # else they lie, if the image is the right way up
        prior, sigma, how = standing, BODY_DEG, f"from {len(upright)} upright bodies"
    elif trunk @ _up(0.0, 0.0) > 0.5:
        prior, sigma, how = trunk, TRUNK_DEG, "nobody stands upright, so from the trunks"
    else:
        prior, sigma, how = _up(0.0, 0.0), LEVEL_DEG, "nobody is upright, so taken for level"
    sigma = math.radians(sigma)
    up = prior
    count = 0
    for _ in range(4):  # which foot stands depends a little on which way is up
        across = np.stack([row / np.linalg.norm(row) for row in _axes(up)[:2]])
        rows, right = [np.eye(2) / sigma], [across @ (prior - up * (up @ prior)) / sigma]
        count = 0
        for joints in people:
            places, reach = _standing_places(joints, up, fps)
            count += len(places)
            if len(places) < 2:
                continue
            offset = places - places.mean(0)
            # a place is known to the height of an ankle, and to what a tilted line of sight makes of its depth
            error = 0.04 + 0.03 * reach * np.abs(places @ up) / np.linalg.norm(places, axis=-1)
            rows.append(offset @ across.T / error[:, None])
            right.append(-(offset @ up) / error)
        tilt = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right), rcond=None)[0]
        up = up + tilt @ across
        up /= np.linalg.norm(up)
    return up, f"{how} and {count} places where a foot stands" if count > 1 else how


def _upright(joints_m: np.ndarray) -> np.ndarray:
    """The directions (n, 3) from between the feet to the thorax in frames in which a person stands."""
    hips, knees, feet = (joints_m[:, list(ids)] for ids in (HIPS, KNEES, FEET))
    leg = np.linalg.norm(knees - hips, axis=-1) + np.linalg.norm(feet - knees, axis=-1)
    straight = (np.linalg.norm(feet - hips, axis=-1) > 0.93 * leg).any(1)
    trunk, legs = joints_m[:, THORAX] - joints_m[:, 0], joints_m[:, 0] - feet.mean(1)
    cosine = (trunk * legs).sum(-1) / np.maximum(np.linalg.norm(trunk, axis=-1) * np.linalg.norm(legs, axis=-1), 1e-9)
    body = (joints_m[:, THORAX] - feet.mean(1))[straight & (cosine > math.cos(math.radians(25)))]
    return body / np.maximum(np.linalg.norm(body, axis=-1, keepdims=True), 1e-9)


def _middle(directions: np.ndarray) -> np.ndarray:
    """The direction with the least sum of distances to (n, 3) (Weiszfeld)."""
    middle = directions.mean(0)
    for _ in range(30):
        weight = 1 / np.maximum(np.linalg.norm(directions - middle, axis=-1, keepdims=True), 1e-3)
        middle = (directions * weight).sum(0) / weight.sum()
    return middle / np.linalg.norm(middle)


def _standing_places(joints_m: np.ndarray, up: np.ndarray, fps: float) -> tuple[np.ndarray, float]:
    """Where feet stand, one place (n, 3) each time, in camera axes, whatever the floor's height; and the depth in m."""
    feet = joints_m[:, FEET].astype(np.float64)
    height = feet @ up
    lower = height - height.min(1, keepdims=True) < LIFTED_M
    touching = _runs((_speed(feet, fps) < STILL_M_S) & lower, fps)
    places: list[np.ndarray] = []
    for foot in range(2):
        stands = [np.median(feet[first:last, foot], axis=0) for first, last in segments(touching[:, foot])]
        for i, at in enumerate(stands):  # a foot that is put down where it stood before tells nothing new
            near = [other for other in stands if np.linalg.norm(other - at) < 0.2]
            if not any(np.linalg.norm(other - at) < 0.2 for other in stands[:i]):
                places.append(np.mean(near, axis=0))
    return np.array(places).reshape(-1, 3), float(np.median(np.linalg.norm(joints_m[:, 0], axis=-1)))


def _height(levelled_m: np.ndarray, fps: float) -> float:
    """The camera's height above the floor from joints (t, 17, 3) in levelled axes around the camera."""
    feet = levelled_m[:, FEET].astype(np.float64)
    lower = feet[..., 2] - feet[..., 2].min(1, keepdims=True) < LIFTED_M
    touching = _runs((_speed(feet, fps) < STILL_M_S) & lower, fps)
    # of one who never stands, say who lies or jumps all the time, the lowest places count
    low = np.median(feet[..., 2][touching]) if touching.any() else np.percentile(levelled_m[..., 2].min(1), 5)
    return ANKLE_M - float(low)


def solve(blocks: np.ndarray, right: np.ndarray, joins: sparse.spmatrix) -> np.ndarray:
    """x (t, 3) with (blocks + joins) x = right: blocks (t, 3, 3) within a frame, joins (t, t) between frames, each
    axis by itself."""
    t = len(blocks)
    within = sparse.bsr_matrix((blocks, np.arange(t), np.arange(t + 1)), shape=(3 * t, 3 * t))
    normal = (within + sparse.kron(joins, sparse.eye(3)) + 1e-9 * sparse.eye(3 * t)).tocsc()
    return linalg.splu(normal).solve(right.ravel()).reshape(t, 3)


def bends(t: int, fps: float, push_m_s2: float) -> sparse.spmatrix:
    """The sum over the frames of (acceleration / push)^2 as a matrix (t, t), per second."""
    if t < 3:
        return sparse.csr_matrix((t, t))
    second = (sparse.eye(t - 2, t) - 2 * sparse.eye(t - 2, t, 1) + sparse.eye(t - 2, t, 2)) * (fps**2 / push_m_s2)
    return (second.T @ second) / fps


def _speed(x: np.ndarray, fps: float) -> np.ndarray:
    """Speeds (t, n) of points (t, n, 3), from a tenth of a second around each frame."""
    half = max(1, round(0.05 * fps))
    padded = np.concatenate([np.repeat(x[:1], half, 0), x, np.repeat(x[-1:], half, 0)])
    frames = np.arange(len(x))
    span = np.minimum(frames + half, len(x) - 1) - np.maximum(frames - half, 0)
    return np.linalg.norm(padded[2 * half :] - padded[: len(x)], axis=-1) * fps / np.maximum(span, 1)[:, None]


def _runs(touching: np.ndarray, fps: float) -> np.ndarray:
    """Contacts (t, 2) without gaps and runs shorter than :data:`SHORTEST_S`."""
    width = max(1, round(SHORTEST_S * fps))
    out = np.zeros_like(touching)
    for foot in range(touching.shape[1]):
        line = touching[:, foot].copy()
        for value in (True, False):  # first close short gaps, then drop short runs
            for first, last in segments(line != value):
                inside = value is False or (first > 0 and last < len(line))
                if last - first < width and inside:
                    line[first:last] = value
        out[:, foot] = line
    return out


def segments(line: np.ndarray) -> list[tuple[int, int]]:
    """First and last + 1 of each run of True in (t,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
