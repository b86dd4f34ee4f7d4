"""The people of a file: from the numbers it gives them where these can be trusted, else followed by their places.

Shape legend: ``n`` detections, ``j`` joints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from moga_st.data.pose.people import box, follow, jumped

#: of the steps from one frame to the next, the share in which a number may go to another body before none is trusted
TRUSTED = 0.05


@dataclass(frozen=True)
class People:
    """Who is who."""

    of: dict[int, list[int]]
    """For each person's number the detections that are theirs, one a frame at most, in the order of the frames."""
    how: str
    """Where the numbers come from, for people."""
    notes: tuple[str, ...] = ()


def identify(
    frames: np.ndarray,
    points: np.ndarray,
    numbers: Sequence[int | None],
    *,
    patience: int,
    frame_s: float,
    ignore_ids: bool = False,
) -> People:
    """Tell apart the people in detections: frames (n,), points (n, j, 3) with NaN where unseen, numbers in the file.

    The numbers are not trusted where some are missing, one is twice in a frame, or they change places with no body
    moving (in more than :data:`TRUSTED` of the steps).  Then, and without numbers, people are followed by the place
    and the size of their joints (:func:`moga_st.data.pose.people.follow`), and numbered from 0 as they appear.

    A trusted number that jumps farther than a body can is split there; one that begins where and when another ends is
    the same person.  In both ways a detection far from where its person can be is someone else's.
    """
    shown = np.flatnonzero(np.isfinite(points[..., :2]).all(-1).any(-1))
    by_frame: dict[int, list[int]] = {}
    for i in shown[np.argsort(frames[shown], kind="stable")].tolist():
        by_frame.setdefault(int(frames[i]), []).append(i)
    followed = follow({f: [points[i] for i in of] for f, of in by_frame.items()}, patience, frame_s)
    places: dict[int, list[int]] = {}
    for frame, of in by_frame.items():
        for number, i in zip(followed[frame], of, strict=True):
            places.setdefault(number, []).append(i)
    places = dict(sorted(places.items()))
    plain = People(places, "followed over the frames")
    given = [numbers[i] for i in shown.tolist()]
    if ignore_ids:
        told = "the numbers in the file not used, as told"
        return replace(plain, notes=(told,)) if any(k is not None for k in given) else plain
    if not len(shown) or any(k is None for k in given):
        return plain
    if any(len({numbers[i] for i in of}) < len(of) for of in by_frame.values()):
        return replace(plain, notes=("the file gives one number to several people of a frame, so it is not used",))
    steps = [(i, k) for of in places.values() for i, k in pairwise(of) if frames[k] - frames[i] == 1]
    wrong = sum(numbers[i] != numbers[k] for i, k in steps)
    if wrong > max(TRUSTED * len(steps), len(set(given)), 2):
        told = f"the numbers in the file change bodies in {wrong:,} of {len(steps):,} steps, so they are not used"
        return replace(plain, notes=(told,))
    return _trusted(frames, points, numbers, shown, places, frame_s)


def _trusted(
    frames: np.ndarray,
    points: np.ndarray,
    numbers: Sequence[int | None],
    shown: np.ndarray,
    places: dict[int, list[int]],
    frame_s: float,
) -> People:
    by_number: dict[int, list[int]] = {}
    for i in shown[np.argsort(frames[shown], kind="stable")].tolist():
        by_number.setdefault(int(numbers[i] or 0), []).append(i)
    pieces: list[list[int]] = []
    cuts = 0
    for of in by_number.values():
        pieces.append(of[:1])
        boxes = [box(points[i]) for i in of]
        size_px = float(np.percentile([(b[2:] - b[:2]).max() for b in boxes], 80))
        for i, k in pairwise(of):
            if jumped(points[i], points[k], size_px, float(frames[k] - frames[i]) * frame_s):
                pieces.append([])
                cuts += 1
            pieces[-1].append(k)
    ends = {of[-1]: n for n, of in enumerate(pieces)}
    begins = {of[0]: n for n, of in enumerate(pieces)}
    follows = {  # pieces that place alone would have joined
        begins[k]: ends[i] for of in places.values() for i, k in pairwise(of) if i in ends and k in begins
    }
    owner = list(range(len(pieces)))
    for later in sorted(follows, key=lambda n: frames[pieces[n][0]]):
        owner[later] = owner[follows[later]]
    return _numbered(pieces, owner, numbers, cuts)


def _numbered(pieces: list[list[int]], owner: list[int], numbers: Sequence[int | None], cuts: int) -> People:
    """Pieces of one owner are one person, called by the number of their first piece, or by a new one if it is taken."""
    whole: dict[int, list[int]] = {}
    for n, piece in enumerate(pieces):
        whole.setdefault(owner[n], []).extend(piece)
    people: dict[int, list[int]] = {}
    new = max((k or 0 for k in numbers), default=0) + 1
    for first, of in sorted(whole.items(), key=lambda item: -len(item[1])):
        number = int(numbers[pieces[first][0]] or 0)
        if number in people:
            number, new = new, new + 1
        people[number] = of
    joins = len(pieces) - len(whole)
    notes = []
    if cuts:
        notes.append(f"numbers in the file split at {cuts} jumps no body can make")
    if joins:
        switched = Counter(numbers[pieces[n][0]] for n in range(len(pieces)) if owner[n] != n)
        notes.append(f"numbers {', '.join(map(str, list(switched)[:6]))} of the file joined to whom they go on from")
    return People(dict(sorted(people.items())), "numbered in the file", tuple(notes))
