"""A person on the floor of the world, standing feet still.

The hip's path gives way first, mostly along the line of sight, where a camera measures worst, then the legs, as two
bones each of constant length.  Axes and floor are those of :mod:`moga_st.data.pose.world`.

Shape legend: ``t`` frames, 17 joints, 2 feet (left, right), 3 axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage, sparse

from moga_st.data.pose.world import (
    ANKLE_M,
    FEET,
    HIPS,
    KNEES,
    MEMORY_S,
    PUSH_M_S2,
    Ground,
    bends,
    contacts,
    segments,
    solve,
)

SIDEWAYS_M, DEPTH_M = 0.04, 0.2  # errors of the path across and along the line of sight
DEPTH_SHARE = 0.05  # of the distance: the error along the line of sight of one who is far away
SLIP_M_S = 0.01  # of a foot that stands
FLOOR_M, OFF_FLOOR_M = 0.1, 0.3  # how near the lower ankle is to its height on the floor; beyond it, a stair or a table
AROUND_S, SWAY_M_S2 = 0.4, 4.0  # for how long errors of depth last, and how they change


def stand(joints_m: np.ndarray, ground: Ground, fps: float, person: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Joints (t, 17, 3) in the camera's space -> in the world, on the floor, standing feet still; and contacts (t, 2).

    Bones keep their lengths.  A foot whose leg would have to be longer than it is stays as near as it can.
    """
    world = ground.to_world(joints_m.astype(np.float64), person)
    ray = world[:, 0] - (0.0, 0.0, ground.heights_m[person])
    world = world + _settling(world[:, 0], world[:, FEET, 2].min(1), ray, fps)[:, None]
    touching = contacts(world, fps)
    world = world + _correction(world[:, FEET], ray, touching, fps)[:, None]
    goals = [_goal(world[:, FEET[foot]], touching[:, foot], fps) for foot in range(2)]
    world[..., 2] -= _too_high(world, goals, touching, fps)[:, None]
    for foot in range(2):
        _bend(world, foot, goals[foot])
    return world, touching


def _certainty(ray_m: np.ndarray, depth_m: np.ndarray | float) -> np.ndarray:
    """How surely a hip's place is known, as inverse covariances (t, 3, 3), for rays (t, 3) from the camera to it and
    errors along them, one or (t,)."""
    sight = ray_m / np.maximum(np.linalg.norm(ray_m, axis=-1, keepdims=True), 1e-9)
    along = sight[:, :, None] * sight[:, None]
    return np.eye(3) / SIDEWAYS_M**2 + along * np.reshape(1 / depth_m**2 - 1 / SIDEWAYS_M**2, (-1, 1, 1))


def _settling(path_m: np.ndarray, lower_m: np.ndarray, ray_m: np.ndarray, fps: float) -> np.ndarray:
    """What to add to the hip's path (t, 3) so that the lower foot, ``lower_m`` (t,) high, is on the floor as a rule.

    Far away, errors of depth shake a person, lift them off the floor or put them below it, where no foot is seen to
    stand.  First the path becomes smooth.  What is left lasts, and a jump does not: it shows in how high the lower foot
    is for a third of the time around a frame.  One who climbs is off the floor, too, which counts for the less the
    higher it is (Cauchy's weights).
    """
    t = len(path_m)
    frames = max(MEMORY_S * fps, 1.0)
    known = _certainty(ray_m, np.maximum(DEPTH_M, DEPTH_SHARE * np.linalg.norm(ray_m, axis=-1))) / frames
    push = bends(t, fps, PUSH_M_S2)
    smooth = solve(known, -(push @ path_m), push)
    around = max(1, round(AROUND_S * fps))
    high = ndimage.percentile_filter(lower_m + smooth[:, 2], 30, 2 * around + 1, mode="nearest") - ANKLE_M
    high = ndimage.uniform_filter1d(high, around + 1, mode="nearest")
    settled, sway = np.zeros((t, 3)), bends(t, fps, SWAY_M_S2)
    for _ in range(5):
        weight = 1 / (FLOOR_M**2 * (1 + ((high + settled[:, 2]) / OFF_FLOOR_M) ** 2)) / frames
        blocks, right = known.copy(), np.zeros((t, 3))
        blocks[:, 2, 2] += weight
        right[:, 2] = -weight * high
        settled = solve(blocks, right, sway)
    return smooth + settled


def _correction(feet_m: np.ndarray, ray_m: np.ndarray, touching: np.ndarray, fps: float) -> np.ndarray:
    """What to add to the hip's path (t, 3) so that the feet (t, 2, 3) stay where and as high as they stand."""
    t = len(feet_m)
    frames = max(MEMORY_S * fps, 1.0)  # errors that near are one error
    blocks = _certainty(ray_m, DEPTH_M) / frames
    right = np.zeros((t, 3))
    level = touching.sum(1) / 0.01**2 / frames
    blocks[:, 2, 2] += level
    right[:, 2] = ((ANKLE_M - feet_m[..., 2]) * touching).sum(1) / 0.01**2 / frames
    joins = bends(t, fps, PUSH_M_S2)
    for foot in range(2):
        both = np.flatnonzero(touching[1:, foot] & touching[:-1, foot])
        if len(both):
            step = sparse.coo_matrix(
                (
                    np.tile([-1.0, 1.0], len(both)),
                    (np.repeat(np.arange(len(both)), 2), np.stack([both, both + 1], 1).ravel()),
                ),
                shape=(len(both), t),
            ).tocsr()
            weight = (fps / SLIP_M_S) ** 2 / fps
            joins = joins + weight * (step.T @ step)
            right -= weight * (step.T @ np.diff(feet_m[:, foot], axis=0)[both])
    return solve(blocks, right, joins)


def _goal(foot_m: np.ndarray, touching: np.ndarray, fps: float) -> np.ndarray:
    """Where an ankle (t, 3) is to go: each time it stands, to one place; else on its way, and not into the floor."""
    moved = np.zeros_like(foot_m)
    for first, last in segments(touching):
        anchor = np.append(np.median(foot_m[first:last, :2], axis=0), ANKLE_M)
        moved[first:last] = anchor - foot_m[first:last]
    goal = foot_m + _eased(moved, touching, fps)
    goal[:, 2] = np.maximum(goal[:, 2], np.where(touching, -np.inf, ANKLE_M - 0.03))
    return goal


def _too_high(world_m: np.ndarray, goals: Sequence[np.ndarray], touching: np.ndarray, fps: float) -> np.ndarray:
    """How far the body (t, 17, 3) must come down for its legs to reach their goals: (t,), smooth."""
    drop = np.zeros(len(world_m))
    for foot, goal in enumerate(goals):
        hip, knee, ankle = (world_m[:, ids[foot]] for ids in (HIPS, KNEES, FEET))
        leg = np.linalg.norm(knee - hip, axis=-1) + np.linalg.norm(ankle - knee, axis=-1)
        rise = np.sqrt(np.maximum(leg**2 - ((goal - hip)[:, :2] ** 2).sum(-1), 0.0))
        drop = np.maximum(drop, np.where(touching[:, foot], hip[:, 2] - goal[:, 2] - rise, 0.0))
    width = 2 * max(1, round(0.06 * fps)) + 1
    return ndimage.uniform_filter1d(ndimage.maximum_filter1d(drop, width, mode="nearest"), width, mode="nearest")


def _eased(moved: np.ndarray, touching: np.ndarray, fps: float) -> np.ndarray:
    """(t, 3), where a foot does not stand: between the shifts of its neighbours in time, fading within 0.15 s."""
    if not touching.any():
        return moved
    away, nearest = ndimage.distance_transform_edt(~touching, return_indices=True)  # pyright: ignore
    fade = np.clip(1 - away / (0.15 * fps), 0.0, 1.0)
    return moved[nearest[0]] * (fade * fade * (3 - 2 * fade))[:, None]


def _bend(world_m: np.ndarray, foot: int, goal_m: np.ndarray) -> None:
    """Move an ankle to (t, 3), in place: the knee stays in the plane it bends in, both bones keep their lengths."""
    hip, knee, ankle = (world_m[:, ids[foot]] for ids in (HIPS, KNEES, FEET))
    thigh, shin = np.linalg.norm(knee - hip, axis=-1), np.linalg.norm(ankle - knee, axis=-1)
    way = goal_m - hip
    length = np.linalg.norm(way, axis=-1)
    reach = np.clip(length, np.abs(thigh - shin), thigh + shin)
    way = way / np.maximum(length, 1e-9)[:, None]
    bend = (knee - hip) - way * ((knee - hip) * way).sum(-1, keepdims=True)
    size = np.linalg.norm(bend, axis=-1, keepdims=True)
    hips = world_m[:, HIPS[0]] - world_m[:, HIPS[1]]
    front = np.cross(hips, np.array([0.0, 0.0, 1.0]))  # a straight knee bends to the front
    front = front - way * (front * way).sum(-1, keepdims=True)
    front /= np.maximum(np.linalg.norm(front, axis=-1, keepdims=True), 1e-9)
    bend = np.where(size > 1e-4, bend / np.maximum(size, 1e-9), front)
    cosine = np.clip((thigh**2 + reach**2 - shin**2) / np.maximum(2 * thigh * reach, 1e-9), -1.0, 1.0)
    sine = np.sqrt(1 - cosine**2)
    world_m[:, KNEES[foot]] = hip + thigh[:, None] * (way * cosine[:, None] + bend * sine[:, None])
    world_m[:, FEET[foot]] = hip + way * reach[:, None]
