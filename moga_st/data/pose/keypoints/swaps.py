"""Left and right that a detector mixed up in some frames, put back where motion shows it.

Shape legend: ``t`` frames, ``p`` pairs of joints, 2 sides.
"""

from __future__ import annotations

import numpy as np

from moga_st.data.pose.skeleton import Layout, mirror

CAP = 0.3  # of the body's size: a joint that is farther from where it was going tells no more than this
TOGGLE = 0.3  # what a change between right and swapped costs: as much as joints may be off by chance
STAY = 0.05  # what a swapped frame costs: a detector is right more often than wrong, and so is what it keeps to
TWIST = 0.3  # and what it costs besides where it turns the shoulders against the hips, which no body does for long
WIDE = 0.08  # of the body's size: shoulders and hips of this width say which way they face
GROUPS = (
    ("Eye", "Ear", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Foot"),  # the whole body at once
    ("Shoulder", "Elbow", "Wrist"),
    ("Hip", "Knee", "Ankle", "Foot"),
)


def repair_swaps(points: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """One person's keypoints (t, j, 3), NaN where unseen, with sides put right, and which frames (t,) that changed.

    First the whole body, then arms and legs alone: the sequence of "as is" and "swapped" is sought (Viterbi) in which
    joints go on most evenly, the least total of |x(t) - 2 x(t-1) + x(t-2)| in body sizes over the frames where the
    group is seen, each change of sides costing :data:`TOGGLE` and each swapped frame :data:`STAY`, and :data:`TWIST`
    more where arms or legs alone would then face away from the rest.  For motion alone may err: one frame in which both
    sides fall together looks as if they crossed.
    """
    out = points.copy()
    changed = np.zeros(len(points), bool)
    other = mirror(layout.joints)
    size_px = _size_px(points)
    if not size_px > 0:
        return out, changed
    for group in GROUPS:
        left = [i for i, n in enumerate(layout.joints) if n[0] == "L" and n[1:] in group and other[i] != i]
        right = [other[i] for i in left]
        pairs = out[:, [left, right], :2].transpose(0, 2, 1, 3) / size_px  # (t, p, 2, 2)
        frames = np.flatnonzero(np.isfinite(pairs).all((2, 3)).any(1)) if left else np.zeros(0, int)
        if len(frames) < 3:
            continue
        own = np.zeros((len(frames), 2))  # what a frame as is, and swapped, costs
        own[:, 1] = STAY + (TWIST * _face_alike(out[frames, :, :2] / size_px, layout) if group != GROUPS[0] else 0)
        swapped = frames[_swapped(pairs[frames], own)]
        here = swapped[:, None]
        out[here, left], out[here, right] = out[here, right], out[here, left]
        changed[swapped] = True
    return out, changed


def _size_px(points: np.ndarray) -> float:
    seen = points[np.isfinite(points[..., :2]).all(-1).sum(1) >= 3][..., :2]
    return float(np.median(np.nanmax(np.nanmax(seen, 1) - np.nanmin(seen, 1), -1))) if len(seen) else 0.0


def _face_alike(places: np.ndarray, layout: Layout) -> np.ndarray:
    """In which frames (t, j, 2) shoulders and hips are seen, wide, and face the same way, so that swapping one of them
    would turn it against the other: (t,)."""
    if not {"LShoulder", "RShoulder", "LHip", "RHip"} <= set(layout.joints):
        return np.zeros(len(places), bool)
    shoulders, hips = (
        places[:, layout.joints.index(f"L{name}")] - places[:, layout.joints.index(f"R{name}")]
        for name in ("Shoulder", "Hip")
    )
    wide = np.minimum(np.linalg.norm(shoulders, axis=-1), np.linalg.norm(hips, axis=-1)) > WIDE
    return wide & ((shoulders * hips).sum(-1) > 0)  # NaN is neither


def _swapped(pairs: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Which of the frames (t, p, side, xy) are swapped, as :func:`repair_swaps` says; ``own`` (t, 2) is what each costs
    as it is, and swapped."""
    rough = np.zeros(
        (len(pairs) - 2, 2, 2)
    )  # whether the first, the last of three frames is swapped against the middle
    for a in range(2):
        for c in range(2):
            before, after = (pairs[:-2, :, ::-1] if a else pairs[:-2]), (pairs[2:, :, ::-1] if c else pairs[2:])
            off = np.linalg.norm(before - 2 * pairs[1:-1] + after, axis=-1)
            rough[:, a, c] = np.minimum(np.nan_to_num(off), CAP).sum((1, 2))
    if 2 * (rough[:, 0, 0] - rough.min((1, 2))).max() < TOGGLE:  # no change could pay
        return np.zeros(len(pairs), bool)
    change = np.array([[0.0, TOGGLE], [TOGGLE, 0.0]])
    cost = change + own[0][:, None] + own[1]  # of (frame 0, frame 1)
    came = np.zeros((len(rough), 2, 2), int)
    for i, r in enumerate(rough):
        # (before, middle, after): r by how before and after differ from the middle
        total = cost[:, :, None] + change[None] + own[i + 2]
        for middle in range(2):
            total[:, middle] += r if not middle else r[::-1, ::-1]
        came[i], cost = total.argmin(0), total.min(0)
    states = np.zeros(len(pairs), int)
    states[-2], states[-1] = np.unravel_index(int(cost.argmin()), (2, 2))
    for i in range(len(rough) - 1, -1, -1):
        states[i] = came[i, states[i + 1], states[i + 2]]
    return states.astype(bool)
