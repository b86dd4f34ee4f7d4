"""Joints that were not seen, filled in.

Shape legend: ``t`` frames, 17 joints of Human3.6M; x, y and confidence.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from moga_st.data.pose.keypoints.layouts import STANDING
from moga_st.data.pose.skeleton import JOINTS, PARENTS


def fill(points: np.ndarray, missing: np.ndarray, max_gap: int) -> tuple[np.ndarray, str]:
    """The points (t, 17, 3) with the joints (t, 17) that are missing filled in with confidence 0, and a sentence on it.

    At most ``max_gap`` frames long, a gap is filled linearly in time, and held at the ends; in a longer one, a joint
    follows its nearest ancestor, its offset from which is filled in that way.  One that never appears is put where a
    standing body has it.
    """
    if not missing.any():
        return points, f"filled 0 of {missing.size:,} joints"
    out = np.where(missing[..., None], 0.0, points)
    ever = np.any(~missing, axis=0)
    long = np.zeros_like(missing)
    for j in np.flatnonzero(ever):  # parents come first
        long[:, j] = _long_runs(missing[:, j], max_gap)
        anchor = _nearest_ancestor(int(j), ever)
        base = np.zeros((len(out), 2)) if anchor is None else out[:, anchor, :2]
        direct, relative = _interpolate(out[:, j, :2], missing[:, j]), _interpolate(out[:, j, :2] - base, missing[:, j])
        out[:, j, :2] = np.where(long[:, j, None], relative + base, direct)
    unit_px = _unit_px(out, ever)
    for j, neighbour in _spread(ever):
        out[:, j, :2] = out[:, neighbour, :2] + (STANDING[j] - STANDING[neighbour]) * unit_px
    counts = {
        f"between neighbours in time (gaps up to {max_gap} frames)": int((missing & ~long)[:, ever].sum()),
        "along with the body (longer gaps)": int(long[:, ever].sum()),
        f"as in a standing body (never seen: {', '.join(n for n, e in zip(JOINTS, ever, strict=True) if not e)})": int(
            missing[:, ~ever].sum()
        ),
    }
    done = ", ".join(f"{n:,} {how}" for how, n in counts.items() if n)
    return out, f"filled {int(missing.sum()):,} of {missing.size:,} joints" + (f": {done}" if done else "")


def _long_runs(missing: np.ndarray, max_gap: int) -> np.ndarray:
    """Which of (t,) lie in a run of more than ``max_gap`` missing."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], missing.astype(np.int8), [0]])))
    out = np.zeros_like(missing)
    for a, b in edges.reshape(-1, 2):
        out[a:b] = b - a > max_gap
    return out


def _interpolate(xy: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Linear in time where missing, held at the ends: (t, 2)."""
    frames, seen = np.arange(len(xy)), np.flatnonzero(~missing)
    return np.stack([np.interp(frames, seen, xy[seen, axis]) for axis in range(2)], axis=-1)


def _nearest_ancestor(joint: int, ever: np.ndarray) -> int | None:
    while (joint := PARENTS[joint]) >= 0:
        if ever[joint]:
            return joint
    return None


def _spread(ever: np.ndarray) -> Iterable[tuple[int, int]]:
    """Each joint that never appears, with a neighbour in the skeleton that did or that came before it here."""
    known = set(np.flatnonzero(ever).tolist())
    while len(known) < len(JOINTS):
        for j in range(len(JOINTS)):
            neighbours = [k for k in known if PARENTS[j] == k or PARENTS[k] == j]
            if j not in known and neighbours:
                yield j, neighbours[0]
                known.add(j)


def _unit_px(points: np.ndarray, ever: np.ndarray) -> np.ndarray:
    """What a unit of :data:`STANDING` is in this clip, in x and y (t, 2): from the spread of the joints that appear
    against theirs in a standing body.  In x also from how far shoulders and hips are apart, which is negative for
    a person seen from behind."""
    seen = np.flatnonzero(ever)
    extent = max(float(np.ptp(STANDING[seen], axis=0).max()), 0.2)
    unit = float(np.median(np.ptp(points[:, seen, :2], axis=1).max(-1))) / extent
    pairs = [(JOINTS.index(f"L{n}"), JOINTS.index(f"R{n}")) for n in ("Shoulder", "Hip")]
    breadths = [
        (points[:, left, 0] - points[:, right, 0]) / (STANDING[left] - STANDING[right])[0]
        for left, right in pairs
        if ever[left] and ever[right]
    ]
    breadth = np.mean(breadths, axis=0) if breadths else np.full(len(points), unit)
    return np.stack([np.clip(breadth, -unit, unit), np.full(len(points), unit)], axis=-1)
