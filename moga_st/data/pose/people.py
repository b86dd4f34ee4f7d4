"""Who is who from frame to frame: people that were found in each frame of a video on its own, followed over time.

Shape legend: ``j`` joints; a person in a frame is (j, 2 or more): x and y in pixels, NaN where unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

REACH = 0.4  # of a person's size: farther from where they are expected, it is someone else


def follow(people: Mapping[int, Sequence[np.ndarray]], patience: int) -> dict[int, list[int]]:
    """Number the people of a video: for each frame the number of each person in it, in the order given.

    A person is expected where their last two sightings lead at constant velocity.  In each frame, the pair of
    a known and a seen person that are closest (:func:`distance`) is joined first, then the next, up to
    :data:`REACH`.  Who is not joined is new, and who was not seen for more than ``patience`` frames does not
    come back.  Numbers count from 0 as people appear, in one frame from left to right, whatever the order of
    the detector's list.
    """
    tracks: list[_Track] = []
    numbers: dict[int, list[int]] = {}
    for frame in sorted(people):
        seen = people[frame]
        order = sorted(range(len(seen)), key=lambda i: np.nan_to_num(seen[i], nan=np.inf).tolist())
        order.sort(key=lambda i: box(seen[i])[0])
        expected = {k: track.at(frame) for k, track in enumerate(tracks) if frame - track.frame <= patience}
        pairs = sorted((distance(e, seen[i]), k, rank) for k, e in expected.items() for rank, i in enumerate(order))
        found: dict[int, int] = {}
        for apart, k, rank in pairs:
            if apart < REACH and k not in found.values() and order[rank] not in found:
                found[order[rank]] = k
                tracks[k].go_on(frame, seen[order[rank]])
        for i in order:
            if i not in found:
                found[i] = len(tracks)
                tracks.append(_Track(frame, seen[i]))
        numbers[frame] = [found[i] for i in range(len(seen))]
    return numbers


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """How far apart two people are, in units of the larger one's size (the longer side of the box): the median over
    the joints that both show, or the distance of the boxes' middles where they share fewer than three.  Infinite
    where one shows nothing.
    """
    size = max(float((box(p)[2:] - box(p)[:2]).max()) for p in (a, b))
    if not size > 0:
        return float("inf")
    apart = np.linalg.norm(a[:, :2] - b[:, :2], axis=-1)
    apart = apart[np.isfinite(apart)]
    if len(apart) < 3:
        middles = [(box(p)[2:] + box(p)[:2]) / 2 for p in (a, b) if np.isfinite(p[:, :2]).all(-1).any()]
        apart = np.linalg.norm(middles[0] - middles[1]) if len(middles) == 2 else np.inf
    return float(np.median(apart)) / size


def box(points: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom of the joints that are seen; all 0 where none is."""
    xy = points[np.isfinite(points[:, :2]).all(-1), :2]
    return np.concatenate([xy.min(0), xy.max(0)]) if len(xy) else np.zeros(4)


def area(points: np.ndarray) -> float:
    """Of the box, in square pixels."""
    left, top, right, bottom = box(points).tolist()
    return (right - left) * (bottom - top)


@dataclass
class _Track:
    frame: int  # of the last sighting
    points: np.ndarray
    velocity: np.ndarray | None = None  # (2,) pixels a frame; of the whole body, since single joints are noisy

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
