"""Everyone's 2D keypoints in the frames of a video, by MediaPipe Pose (BlazePose), whose networks are in its package:
nothing is downloaded.  It is the extra ``moga-st[video-pose]``; only :class:`PeopleFinder` imports it.

MediaPipe finds one person an image.  So people are looked for in tiles, overlapping squares of three sizes: in all of
them in the first frame, then in a few a frame, in turn.  Each who was found is followed in a crop of their own around
the last place; two that turn out to be the same are one.

Shape legend: ``n`` people, 33 landmarks of :data:`moga_st.data.pose.skeleton.MEDIAPIPE33`; a frame is (h, w, 3), uint8
RGB; a box is left, top, right, bottom.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from moga_st.errors import BadInput

Box = tuple[int, int, int, int]

SURE = 0.5  # mean visibility of shoulders and hips below which nobody is there
SAME = 0.25  # of a body's size: two that are nearer, by the median over the landmarks, are one person
OVERLAP = 0.5  # intersection over union of two boxes that are one person's
MARGIN = 0.35  # of a body's size around it in its crop
SMALLEST_PX = 64  # side of a tile
SEARCH_S = 1.0  # in which all tiles have had their turn
_BODY = (11, 12, 23, 24)  # shoulders and hips


class PeopleFinder:
    """MediaPipe Pose: frames of one video, one after the other -> people (n, 33, 3): x, y in pixels and visibility.

    People keep their order from frame to frame while they are followed.

    Args:
        fps: of the frames, for how often to look for new people.
        people: at most so many; once they are all there, nobody else is looked for, which is faster.

    Raises:
        BadInput: MediaPipe is not there, or is a version without its networks.
    """

    name = "MediaPipe"
    layout = "mediapipe"  # as `read_keypoints` takes it

    def __init__(self, fps: float = 30.0, people: int = 16):
        if not (fps > 0 and people > 0):
            raise BadInput(f"MediaPipe: frame rate and number of people must be positive, got {fps} and {people}")
        pose = _import_pose()
        with _quiet():
            self._pose = pose(static_image_mode=True, model_complexity=1, min_detection_confidence=0.5)
            # its threads report as they start, which this waits for
            self._pose.process(np.zeros((SMALLEST_PX, SMALLEST_PX, 3), np.uint8))
        self._round = max(1, round(SEARCH_S * fps))  # frames
        self._most = people
        self._known: list[np.ndarray] = []
        self._moved: list[np.ndarray] = []
        self._frame = 0

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        with _quiet():
            return self._people(frame)

    def _people(self, frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        found: list[np.ndarray | None] = [
            self._find(frame, box_around(last + moved, width, height))
            for last, moved in zip(self._known, self._moved, strict=True)
        ]
        kept = distinct([p for p in found if p is not None])
        for box in self._turn(tiles(width, height)) if len(kept) < self._most else []:
            person = self._find(frame, box)
            if person is not None and len(distinct([*kept, person])) > len(kept):
                person = seen_again(lambda box: self._find(frame, box), person, width, height)
                kept = kept if person is None else distinct([*kept, person])
            if len(kept) >= self._most:
                break
        self._moved = [self._step(person) for person in kept]
        self._known = kept
        self._frame += 1
        return np.stack(kept) if kept else np.zeros((0, 33, 3))

    def _turn(self, boxes: list[Box]) -> list[Box]:
        """Those of the tiles that this frame looks in."""
        if self._frame == 0:
            return boxes
        a_frame = -(-len(boxes) // self._round)
        first = self._frame * a_frame
        return [boxes[(first + i) % len(boxes)] for i in range(a_frame)]

    def _step(self, person: np.ndarray) -> np.ndarray:
        """How far the person moved since the last frame (3,), 0 for one who is new."""
        before = [last for last in self._known if apart(last, person) < 2 * SAME]
        if not before:
            return np.zeros(3)
        nearest = min(before, key=lambda last: apart(last, person))
        return np.append(np.median((person - nearest)[:, :2], axis=0), 0.0)

    def _find(self, frame: np.ndarray, box: Box) -> np.ndarray | None:
        """The person (33, 3) in a box of the frame."""
        left, top, right, bottom = box
        answer = self._pose.process(np.ascontiguousarray(frame[top:bottom, left:right]))
        if answer.pose_landmarks is None:
            return None
        marks = np.array([(m.x, m.y, m.visibility) for m in answer.pose_landmarks.landmark])
        if marks[_BODY, 2].mean() < SURE:
            return None
        return marks * (right - left, bottom - top, 1) + (left, top, 0)


def tiles(width: int, height: int) -> list[Box]:
    """Where to look for people: the whole image, and squares of a half and a quarter of its longer side, or its shorter
    one, that overlap by half; none smaller than :data:`SMALLEST_PX`."""
    boxes: list[Box] = [(0, 0, width, height)]
    sides = sorted({min(height, width), *(min(max(height, width) // part, height, width) for part in (2, 4))})
    for side in reversed([s for s in sides if s >= SMALLEST_PX]):
        lefts, tops = ((_starts(length, side)) for length in (width, height))
        boxes += [(x, y, x + side, y + side) for y in tops for x in lefts]
    return boxes


def box_around(person: np.ndarray, width: int, height: int) -> Box:
    """The square around a person with :data:`MARGIN`, as far as it lies in the image; the image where it does not."""
    low, high = person[:, :2].min(0), person[:, :2].max(0)
    half = (0.5 + MARGIN) * float((high - low).max())
    middle = (low + high) / 2
    left, top = np.clip(middle - half, 0, (width, height)).round().astype(int).tolist()
    right, bottom = np.clip(middle + half, 0, (width, height)).round().astype(int).tolist()
    return (left, top, right, bottom) if min(right - left, bottom - top) >= 16 else (0, 0, width, height)


def seen_again(
    find: Callable[[Box], np.ndarray | None], person: np.ndarray, width: int, height: int
) -> np.ndarray | None:
    """Someone who was found in a tile, looked for twice more in a crop around the last place: the tile may have cut
    them, and what looks like a person (the gap between two legs, say) seldom does so in another crop.

    Args:
        find: the person (33, 3) in a box of the frame.

    Returns:
        The person (33, 3) in the first of the two, if the second has them at the same place; None otherwise.
    """
    whole = find(box_around(person, width, height))
    again = None if whole is None else find(box_around(whole, width, height))
    return whole if whole is not None and again is not None and apart(whole, again) < SAME else None


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """How far apart two people are: the median over the landmarks, in sizes of the larger one."""
    size = max(float(np.ptp(p[:, :2], axis=0).max()) for p in (a, b))
    return float(np.median(np.linalg.norm(a[:, :2] - b[:, :2], axis=-1))) / max(size, 1e-9)


def distinct(people: list[np.ndarray]) -> list[np.ndarray]:
    """Without those who are one before them: nearer than :data:`SAME`, or in a box that is :data:`OVERLAP` the same, as
    where left and right are confused."""
    kept: list[np.ndarray] = []
    for person in people:
        if all(apart(person, other) >= SAME and _overlap(person, other) < OVERLAP for other in kept):
            kept.append(person)
    return kept


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of the boxes of two people."""
    low, high = (np.stack([f(p[:, :2], axis=0) for p in (a, b)]) for f in (np.min, np.max))
    both = np.clip(high.min(0) - low.max(0), 0, None).prod()
    return float(both / max((high - low).prod(1).sum() - both, 1e-9))


def _starts(length: int, side: int) -> list[int]:
    """Where squares of a side begin that cover a length and overlap by half."""
    steps = max(0, -(-(length - side) * 2 // side))
    return [round(i * (length - side) / steps) for i in range(steps + 1)] if steps else [0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Inside, nothing comes out on stderr: what MediaPipe reports there, from C++, no setting turns off."""
    sys.stderr.flush()
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def is_there() -> bool:
    """Whether MediaPipe is installed."""
    return importlib.util.find_spec("mediapipe") is not None


def _import_pose() -> Any:
    try:
        with _quiet():
            return importlib.import_module("mediapipe").solutions.pose.Pose
    except (ImportError, AttributeError) as error:  # later versions have no solutions
        raise BadInput(
            f"finding people in a video with MediaPipe needs its version 0.10.21 ({error}); install it in an "
            "environment of its own, with Python 3.12 or older: pip install 'moga-st[video-pose]'"
        ) from error
