"""What a keypoint file holds, whatever its format: who was found where in which frame.

Shape legend: ``j`` joints of the file; a point is x, y and confidence in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from moga_st.data.pose.skeleton import Layout

MOST_FRAMES = 10**12  # frame numbers beyond it are no frame numbers
#: what damaged or hostile content raises while it is taken apart
DAMAGED = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError)


class Detection(NamedTuple):
    """One person in one frame."""

    frame: int
    points: np.ndarray  # (j, 3) float64
    track: int | None  # the person's number in the file


@dataclass
class Content:
    """A file, taken apart."""

    kind: str
    """The format's name."""
    detections: list[Detection]
    listed: set[int]
    """The frames that the file speaks of, with people or without."""
    names: dict[int, str] = field(default_factory=dict)
    """Of the joints by their index, as far as the file tells."""
    layout: str | None = None
    """The layout that the file names."""
    usual: tuple[Layout, ...] = ()
    """The format's own layouts: one of them is meant where neither names nor the number of joints decide."""
    size_px: tuple[int, int] | None = None
    fps: float | None = None
    normalised: bool = False
    """Coordinates are fractions of the image's width and height."""
    notes: tuple[str, ...] = ()
    """What was assumed or left out, for people."""

    def merged(self, others: Iterable[Content]) -> Content:
        """This and more files of the same clip, all of one format."""
        for other in others:
            self.detections += other.detections
            self.listed |= other.listed
        return self


def points_of(flat: Any) -> np.ndarray:
    """Numbers x, y, confidence of one joint after another -> (j, 3)."""
    return with_confidence(np.array(flat, float).reshape(-1, 3))


def with_confidence(points: np.ndarray) -> np.ndarray:
    """(j, 2 or more) -> (j, 3): without one the confidence is 1; above 1 (COCO's flag 2, old AlphaPose, SimCC) it
    counts as 1."""
    confidence = np.clip(points[:, 2], 0.0, 1.0) if points.shape[1] >= 3 else np.ones(len(points))
    return np.column_stack([points[:, :2], confidence])


def joined(xy: Any, confidence: Any) -> np.ndarray:
    """(j, 2 or more) coordinates and (j,) confidences, or None -> (j, 3)."""
    places = np.array(xy, float)[:, :2]
    if confidence is None:
        return with_confidence(places)
    return with_confidence(np.column_stack([places, np.array(confidence, float)]))


def person_number(value: Any) -> int | None:
    """An int, a float, or a list of one; below 0, nothing and what is no number mean none."""
    while isinstance(value, list | tuple):
        value = value[0] if value else None
    if value is None or isinstance(value, bool):
        return None
    number = float(value)
    return int(number) if 0 <= number < MOST_FRAMES else None


def frame_number(value: Any) -> int:
    """
    Raises:
        ValueError: no whole number of a frame.
    """
    number = float(value)
    if not math.isfinite(number) or number != int(number) or abs(number) >= MOST_FRAMES:
        raise ValueError(f"frame number {value!s:.40} is none")
    return int(number)


def size_of(value: Any) -> tuple[int, int]:
    """
    Raises:
        ValueError: no width and height.
    """
    width, height = (float(v) for v in np.asarray(value).tolist())
    if not (math.isfinite(width) and math.isfinite(height)):
        raise ValueError(f"the image's size {value!s:.60} is not finite")
    return int(width), int(height)


def said_of(meta: dict[str, Any]) -> dict[str, Any]:
    """The size, frame rate and layout that a file's own words (size_px, fps, layout) give.

    Raises:
        ValueError: they are not of their kind.
    """
    said: dict[str, Any] = {}
    try:
        if meta.get("size_px") is not None:
            said["size_px"] = size_of(meta["size_px"])
        if meta.get("fps") is not None:
            said["fps"] = float(meta["fps"])
        if meta.get("layout") is not None:
            said["layout"] = str(meta["layout"])
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"size_px must be (w, h) and fps one number: {error}") from error
    return said
