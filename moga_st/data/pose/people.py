"""Who is who from frame to frame: people that were found in each frame of a video on its own, followed over time.

Shape legend: ``j`` joints; a person in a frame is (j, 2 or more): x and y in pixels, NaN where unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

REACH = 0.4  # of a person's size: farther from where they are expected, it is someone else
NOISE = 0.15  # of a person's size: what a box may be off by chance from one frame to the next
FASTEST = 8.0  # body sizes a second: a sprinter does six


def reach(step_s: float) -> float:
    """How far from where they are expected a person may be found after ``step_s`` seconds, in body sizes."""
    return NOISE + FASTEST * step_s


def follow(
    people: Mapping[int, Sequence[np.ndarray]], patience: int, frame_s: float | None = None
) -> dict[int, list[int]]:
    """Number the people of a video, as :class:`Follower` does frame by frame: for each frame the number of each person
    in it, in the order given."""
    follower = Follower(patience, frame_s)
    return {frame: follower(frame, people[frame]) for frame in sorted(people)}


class Follower:
    """Numbers the people of each frame of a video, one frame after the other.

    A person is expected where their last two sightings lead at constant velocity.  In each frame, the pair of
    a known and a seen person that are closest (:func:`distance`) is joined first, then the next, up to the distance
    that a body can go since it was last seen (:func:`reach`), and no more than :data:`REACH` unless a body goes
    farther from one frame to the next.  Who is not joined is new, and who was not seen for more than ``patience``
    frames does not come back.  Numbers count from 0 as people appear, in one frame from left to right, whatever the
    order of the detector's list.

    Args:
        patience: frames.
        frame_s: seconds from one frame to the next; left out, all are joined up to :data:`REACH`.
    """

    def __init__(self, patience: int, frame_s: float | None = None):
        self.patience, self.frame_s = patience, frame_s
        self._active: dict[int, _Track] = {}  # by number, of those who may come back
        self._next = 0

    @property
    def numbers(self) -> set[int]:
        """Of those who are followed."""
        return set(self._active)

    def __call__(self, frame: int, seen: Sequence[np.ndarray]) -> list[int]:
        """The number of each person seen in a frame, which comes after all before."""
        order = sorted(range(len(seen)), key=lambda i: np.nan_to_num(seen[i], nan=np.inf).tolist())
        order.sort(key=lambda i: box(seen[i])[0])
        self._active = {k: track for k, track in self._active.items() if frame - track.frame <= self.patience}
        tracks = list(self._active.values())
        expected = [track.at(frame) for track in tracks]
        allowed = np.array([_allowed(frame - track.frame, self.frame_s) for track in tracks])
        sizes_px = np.array([track.size_px for track in tracks])
        apart, which, rank = _close_pairs(expected, [seen[i] for i in order], allowed.max(initial=0.0), sizes_px)
        known, found, taken = list(self._active), dict[int, int](), set[int]()
        for n in np.lexsort((rank, which, apart)).tolist():
            k, i = known[which[n]], order[rank[n]]
            if apart[n] < allowed[which[n]] and k not in taken and i not in found:
                found[i] = k
                taken.add(k)
                self._active[k].go_on(frame, seen[i])
        for i in order:
            if i not in found:
                found[i] = self._next
                self._active[self._next] = _Track(frame, seen[i])
                self._next += 1
        return [found[i] for i in range(len(seen))]


def _allowed(frames: int, frame_s: float | None) -> float:
    if frame_s is None:
        return REACH
    return min(reach(frames * frame_s), max(REACH, reach(frame_s)))


def _close_pairs(
    a: Sequence[np.ndarray], b: Sequence[np.ndarray], limit: float, at_least_px: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The :func:`distance` of all pairs whose boxes' middles are not farther apart than two sizes and the limit, with
    the index of each in ``a`` and in ``b``.  Those in ``a`` are of a size of ``at_least_px``, however few joints they
    show here."""
    if not a or not b:
        return np.zeros(0), np.zeros(0, int), np.zeros(0, int)
    one, two = np.stack([p[:, :2] for p in a]), np.stack([p[:, :2] for p in b])
    boxes = [_boxes(group) for group in (one, two)]
    sizes = [(x[:, 2:] - x[:, :2]).max(-1) for x in boxes]
    middles = [(x[:, 2:] + x[:, :2]) / 2 for x in boxes]
    size = np.maximum(np.maximum(sizes[0], at_least_px)[:, None], sizes[1])
    far = np.linalg.norm(middles[0][:, None] - middles[1], axis=-1)
    with np.errstate(invalid="ignore"):  # nothing seen and no limit: 0 times infinity
        near = (far <= (2.0 + limit) * size) & (size > 0)
    i, k = np.nonzero(near)
    joints = np.linalg.norm(one[i] - two[k], axis=-1)
    common = np.isfinite(joints).sum(1)
    typical = _median(joints, common)
    showing = [np.asarray(np.isfinite(group).all(-1).any(-1)) for group in (one, two)]
    middle = np.where(showing[0][i] & showing[1][k], far[i, k], np.inf)
    return np.where(common >= 3, typical, middle) / size[i, k], i, k


def _median(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Of each row's finite values, of which it has ``count``: far faster than numpy's nanmedian."""
    ordered = np.sort(values, axis=1)  # NaN come last
    rows, half = np.arange(len(values)), np.maximum(count, 1)
    return (ordered[rows, (half - 1) // 2] + ordered[rows, half // 2]) / 2


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """How far apart two people are, in units of the larger one's size (the longer side of the box): the median over
    the joints that both show, or the distance of the boxes' middles where they share fewer than three.  Infinite
    where one shows nothing.
    """
    apart, _, _ = _close_pairs([a], [b], np.inf)
    return float(apart[0]) if len(apart) else float("inf")


def jumped(a: np.ndarray, b: np.ndarray, size_px: float, step_s: float) -> bool:
    """Whether ``b`` is farther from ``a`` than a body of this size can go in the time between: beyond :func:`reach`, in
    the median of three joints or more that both show."""
    apart = np.linalg.norm(a[:, :2] - b[:, :2], axis=-1)
    apart = apart[np.isfinite(apart)]
    return len(apart) >= 3 and float(np.median(apart)) > reach(step_s) * size_px


def box(points: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom of the joints that are seen; all 0 where none is."""
    xy = points[np.isfinite(points[:, :2]).all(-1), :2]
    return np.concatenate([xy.min(0), xy.max(0)]) if len(xy) else np.zeros(4)


def _boxes(points: np.ndarray) -> np.ndarray:
    """The :func:`box` of each of many people (n, j, 2): (n, 4)."""
    seen = np.asarray(np.isfinite(points).all(-1, keepdims=True))
    low, high = np.where(seen, points, np.inf).min(axis=1), np.where(seen, points, -np.inf).max(axis=1)
    return np.where(seen.any(axis=1), np.concatenate([low, high], -1), 0.0)


def area(points: np.ndarray) -> float:
    """Of the box, in square pixels."""
    left, top, right, bottom = box(points).tolist()
    return (right - left) * (bottom - top)


@dataclass
class _Track:
    frame: int  # of the last sighting
    points: np.ndarray
    velocity: np.ndarray | None = None  # (2,) pixels a frame; of the whole body, since single joints are noisy
    size_px: float = 0.0  # the larger side of the box as it was lately, with most joints in view

    def __post_init__(self) -> None:
        self._see(self.points)

    def _see(self, points: np.ndarray) -> None:
        self.size_px = max(0.95 * self.size_px, float((box(points)[2:] - box(points)[:2]).max()))

    def at(self, frame: int) -> np.ndarray:
        if self.velocity is None:
            return self.points
        expected = self.points.copy()
        expected[:, :2] += self.velocity * (frame - self.frame)
        return expected

    def go_on(self, frame: int, points: np.ndarray) -> None:
        moved = (points - self.points)[:, :2]
        moved = moved[np.isfinite(moved).all(-1)]
        if len(moved):
            now = np.median(moved, axis=0) / (frame - self.frame)
            self.velocity = now if self.velocity is None else (self.velocity + now) / 2
        self.frame, self.points = frame, points
        self._see(points)
