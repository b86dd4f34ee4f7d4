"""From a keypoint file of any format to its people, each complete and ready for lifting.

Shape legend: ``n`` detections, ``t`` frames, ``j`` joints of the file; x, y in pixels, and confidence.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from moga_st.data.pose.keypoints.checks import (
    check_fps,
    check_inside,
    check_size,
    check_step,
    in_pixels,
    posture_warning,
    without_strays,
)
from moga_st.data.pose.keypoints.content import Content
from moga_st.data.pose.keypoints.filling import fill
from moga_st.data.pose.keypoints.formats.which import read_content
from moga_st.data.pose.keypoints.identity import People, identify
from moga_st.data.pose.keypoints.layouts import choose_layout
from moga_st.data.pose.keypoints.numbering import counted
from moga_st.data.pose.keypoints.swaps import repair_swaps
from moga_st.data.pose.people import area
from moga_st.data.pose.skeleton import Layout, to_canonical, to_h36m17
from moga_st.errors import BadInput

FPS = 30.0  # assumed where nobody says
BRIEF_S = 0.5  # of everyone, who is seen for less is left out
MAX_ABSENCE_S = 1.0  # who is seen nowhere for longer comes back in a new part: nothing is made up for so long


@dataclass(frozen=True)
class Keypoints:
    """One person's keypoints in one stretch of frames.  ``points_px`` is complete: no value is missing or NaN."""

    points_px: np.ndarray  # (t, 17, 3) float32, Human3.6M-17: x, y, and confidence; 0 where a joint was filled in
    size_px: tuple[int, int]  # width and height of the image
    fps: float  # of the frames here
    layout: str  # the layout that the file was in
    first_frame: int  # number in the file of the first frame here; as in the file, it may count from 0 or 1
    frame_step: int  # between the numbers of consecutive frames
    note: str  # what was read, chosen, assumed and filled in, for people and records
    person: int = 0  # number of the one taken
    people: int = 1  # how many there are in the file
    part: int = 0  # of the person's: long absences split a clip
    parts: int = 1
    time_zero: int = 0  # the first frame number in the file, whose time is 0
    joints: tuple[str, ...] = ()  # of the file's layout
    found_px: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 3), np.float32))
    """(t, j, 3) float32 in the file's layout, sides put right; where unseen NaN, and confidence 0."""
    canonical_px: np.ndarray = field(default_factory=lambda: np.zeros((0, 22, 3), np.float32))
    """(t, 22, 3) float32, :data:`moga_st.data.pose.skeleton.CANONICAL`: all 0 where unseen or not in the layout."""
    warnings: tuple[str, ...] = ()  # what looks wrong, for people

    @property
    def frames(self) -> np.ndarray:
        """Numbers of the frames as the file counts them (t,)."""
        return self.first_frame + self.frame_step * np.arange(len(self.points_px))

    @property
    def times_s(self) -> np.ndarray:
        """Seconds since the first frame of the file (t,)."""
        return (self.frames - self.time_zero) / (self.fps * self.frame_step)

    @property
    def invented(self) -> np.ndarray:
        """Which of the 17 joints were not seen and are filled in (t, 17); a whole frame where the person was away."""
        return self.points_px[..., 2] == 0


@dataclass(frozen=True)
class _Scene:
    """A file's detections, all in one layout and in pixels, and who is who in them."""

    path: Path
    content: Content
    layout: Layout
    frames: np.ndarray  # (n,) from 0 in steps of 1
    points: np.ndarray  # (n, j, 3)
    people: People
    size_px: tuple[int, int]
    fps: float
    fps_assumed: bool
    zero: int
    step: int
    notes: tuple[str, ...]


def read_keypoints(
    path: Path,
    *,
    size_px: tuple[int, int] | None = None,
    fps: float | None = None,
    layout: str | None = None,
    person: int | None = None,
    min_confidence: float = 0.3,
    max_gap_s: float = 0.5,
    ignore_ids: bool = False,
    clip: str | None = None,
) -> Keypoints:
    """Read one person's keypoints, as :func:`read_people` reads everyone's; of several parts the longest.

    Args:
        person: their number (in the file, or as they appear).  Left out: the one with the largest boxes around the
            joints seen, summed over the frames.

    Raises:
        BadInput: as :func:`read_people`; no such person.
    """
    scene = _scene(path, size_px, fps, layout, min_confidence, max_gap_s, ignore_ids, clip)
    taken, choice = _choose(scene, person)
    parts = _person(scene, taken, choice, max_gap_s, min_confidence)
    return max(parts, key=lambda k: len(k.points_px))


def read_people(
    path: Path,
    *,
    size_px: tuple[int, int] | None = None,
    fps: float | None = None,
    layout: str | None = None,
    person: int | None = None,
    everyone: bool = True,
    min_confidence: float = 0.3,
    max_gap_s: float = 0.5,
    ignore_ids: bool = False,
    clip: str | None = None,
) -> list[Keypoints]:
    """Read the people of a keypoint file: for each person, each part in which they are not away for long.

    Formats (chosen by content): npz of ours, of VideoPose3D and its kin, and what ``lift`` wrote; JSON of COCO (results
    and annotations), PoseTrack, AlphaPose, OpenPose, mmpose, MediaPipe, ultralytics, ViTPose; CSV of DeepLabCut;
    folders of OpenPose's, mmpose's, AlphaPose's and YOLO's files, one an image.  The modules of
    :mod:`moga_st.data.pose.keypoints.formats` say what each looks like.

    Frames are numbered by image_id, frame_id, the digits of a file's name that vary, or else by their order.
    Numbers with a constant step count as consecutive, at a frame rate as many times lower; missing ones are filled.
    The step is that of all frames listed, also those without people, which OpenPose and mmpose write.

    A joint below ``min_confidence``, NaN, at exactly (0, 0), or far outside the image is missing; a file whose
    confidences are all 0 has none, and they count as 1.  Left and right are put back where motion shows a change
    (:func:`moga_st.data.pose.keypoints.swaps.repair_swaps`).  What is missing is filled in with confidence 0
    (:func:`moga_st.data.pose.keypoints.filling.fill`); an absence of more than a second, and ``max_gap_s``, splits.

    Args:
        size_px: width and height of the image, where the file does not say.
        fps: frame rate of the file's numbering: where that steps by 5, 5 times that of the keypoints; the file's,
            else 30.
        layout: a name of :data:`moga_st.data.pose.keypoints.LAYOUT_BY_NAME`; left out, what the file says or is like.
        person: only this one.
        everyone: but those seen for less than :data:`BRIEF_S`; left at False, without ``person``, only the one who
            takes up most of the images.
        max_gap_s: a joint missing for no longer is filled in between where it was seen.
        ignore_ids: follow people by their places whatever numbers the file gives them.
        clip: of a file that holds several (VideoPose3D's), the name of one.

    Raises:
        BadInput: nothing there, unreadable, another format or joint count, mixed joint counts, a layout that nothing
            decides, no such person, nothing seen of them, an unknown image size, or coordinates that do not fit it.
    """
    scene = _scene(path, size_px, fps, layout, min_confidence, max_gap_s, ignore_ids, clip)
    if person is not None or not everyone:
        taken, choice = _choose(scene, person)
        return _person(scene, taken, choice, max_gap_s, min_confidence)
    numbers, several = scene.people.of, len(scene.people.of) > 1
    if not numbers:
        raise _nothing_seen(path, "anyone", min_confidence)
    # a detector's passing mistakes; where nobody is seen for longer, they are what there is
    long = [n for n, of in numbers.items() if len(of) >= BRIEF_S * scene.fps] or list(numbers)
    brief = f"; {len(numbers) - len(long)} seen for less than {BRIEF_S} s left out" if len(long) < len(numbers) else ""
    found = []
    for number in long:
        choice = f"person {number} of {len(numbers)} ({scene.people.how}{brief})" if several else "the only person"
        found += _person(scene, number, choice, max_gap_s, min_confidence)
    return found


def _scene(
    path: Path,
    size_px: tuple[int, int] | None,
    fps: float | None,
    layout: str | None,
    min_confidence: float,
    max_gap_s: float,
    ignore_ids: bool,
    clip: str | None,
) -> _Scene:
    if not (0.0 <= min_confidence <= 1.0 and max_gap_s >= 0.0):
        raise BadInput(f"need min_confidence in [0, 1] and max_gap_s >= 0, got {min_confidence} and {max_gap_s}")
    content = read_content(path, clip)
    points, notes = _stacked(path, content, min_confidence)
    chosen, why = choose_layout(path, content, points, layout)
    size = check_size(path, content.size_px if size_px is None else size_px)
    given = content.fps if fps is None else fps
    check_fps(path, given)
    points, scaled = in_pixels(points[:, : len(chosen.joints)], size, content.normalised)
    points, strays = without_strays(points, size)
    zero, step, _ = counted(path, content.listed)
    frames = np.array([(d.frame - zero) // step for d in content.detections], np.int64)
    rate = (FPS if given is None else given) / step
    check_step(path, step, rate)
    people = identify(
        frames,
        points,
        [d.track for d in content.detections],
        patience=round(max_gap_s * rate) + 1,
        frame_s=1.0 / rate,
        ignore_ids=ignore_ids,
    )
    said = (*content.notes, *notes, f"layout {why}" if why else "", scaled, strays, *people.notes)
    return _Scene(
        path,
        content,
        chosen,
        frames,
        points,
        people,
        size,
        float(rate),
        given is None,
        zero,
        step,
        tuple(s for s in said if s),
    )


def _stacked(path: Path, content: Content, min_confidence: float) -> tuple[np.ndarray, tuple[str, ...]]:
    """All points (n, j, 3), NaN and with confidence 0 where they count as not seen."""
    if not content.detections:
        raise BadInput(f"{path}: holds no person; give the detector's output for a clip with one")
    counts = Counter(len(d.points) for d in content.detections)
    if len(counts) > 1:
        found = ", ".join(f"{j} joints in {n}" for j, n in sorted(counts.items()))
        raise BadInput(f"{path}: mixed keypoint layouts ({found} entries); keep those of one detector")
    points = np.stack([d.points for d in content.detections])
    notes: tuple[str, ...] = ()
    somewhere = np.isfinite(points).all(-1) & (points[..., :2] != 0).any(-1)
    if somewhere.any() and not points[somewhere][:, 2].any():
        points[..., 2] = 1.0
        notes = ("a file without confidences",)
    unseen = ~somewhere | (points[..., 2] < min_confidence) | (points[..., 2] == 0)
    points[unseen] = (np.nan, np.nan, 0.0)
    return points, notes


def _choose(scene: _Scene, person: int | None) -> tuple[int, str]:
    """The number of the person to take, and a phrase on the choice."""
    of = scene.people.of
    if person is not None and person not in of:
        listed = ", ".join(f"{k} ({len(v)} frames)" for k, v in list(of.items())[:12])
        there = "the only person is" if len(of) == 1 else "the people are"
        raise BadInput(f"{scene.path}: no person {person}; {there} {listed}{', ...' if len(of) > 12 else ''}")
    if not of:
        return 0, "anyone"
    if len(of) == 1:
        return next(iter(of)), "the only person"
    areas = {k: sum(area(scene.points[i]) for i in v) for k, v in of.items()}
    chosen = max(areas, key=lambda k: areas[k]) if person is None else person
    why = "" if person is not None else ", the largest boxes summed over the frames"
    return chosen, f"person {chosen} of {len(of)} ({scene.people.how}{why})"


def _nothing_seen(path: Path, whom: str, min_confidence: float) -> BadInput:
    return BadInput(
        f"{path}: no joint of {whom} has a place and a confidence of {min_confidence} or more; lower "
        "`min_confidence` or choose another person"
    )


def _person(scene: _Scene, number: int, choice: str, max_gap_s: float, min_confidence: float) -> list[Keypoints]:
    """One person's parts."""
    of = scene.people.of.get(number, [])
    longest = max(1, round(max(MAX_ABSENCE_S, max_gap_s) * scene.fps))
    parts: list[list[int]] = [of[:1]] if of else []
    for i, k in pairwise(of):
        if scene.frames[k] - scene.frames[i] - 1 > longest:
            parts.append([])
        parts[-1].append(k)
    made = [_part(scene, part, max_gap_s) for part in parts]
    if not any(m is not None for m in made):
        raise _nothing_seen(scene.path, choice, min_confidence)
    whole = [m for m in made if m is not None]
    seen = np.concatenate([m.points[~m.missing][:, :2] for m in whole])
    check_inside(scene.path, seen, scene.size_px)
    return [_keypoints(scene, m, number, choice, n, len(whole)) for n, m in enumerate(whole)]


@dataclass(frozen=True)
class _Part:
    first: int  # from 0 in steps of 1
    found: np.ndarray  # (t, j, 3), NaN where unseen
    points: np.ndarray  # (t, 17, 3), NaN where unseen
    missing: np.ndarray  # (t, 17)
    swapped: int  # frames
    filled: np.ndarray  # (t, 17, 3)
    how: str  # it was filled


def _part(scene: _Scene, of: list[int], max_gap_s: float) -> _Part | None:
    first, last = int(scene.frames[of[0]]), int(scene.frames[of[-1]])
    found = np.full((last - first + 1, len(scene.layout.joints), 3), np.nan)
    found[..., 2] = 0.0
    found[scene.frames[of] - first] = scene.points[of]
    found, swapped = repair_swaps(found, scene.layout)
    points = to_h36m17(torch.from_numpy(found), scene.layout).numpy()
    missing = np.any(np.isnan(points), axis=-1) | (points[..., 2] == 0)
    if missing.all():
        return None
    filled, how = fill(points, missing, round(max_gap_s * scene.fps))
    return _Part(first, found, points, missing, int(swapped.sum()), filled, how)


def _keypoints(scene: _Scene, part: _Part, number: int, choice: str, n: int, parts: int) -> Keypoints:
    step, first = scene.step, scene.zero + part.first * scene.step
    last = first + step * (len(part.found) - 1)
    away = int(part.missing.all(1).sum())
    warning = posture_warning(np.where(part.missing[..., None], np.nan, part.points))
    said = [
        f"{scene.path.name}: {scene.content.kind}, {scene.layout.name}, {choice}",
        f"part {n} of {parts}, apart by long absences" if parts > 1 else "",
        f"frames {first} to {last}" + (f" in steps of {step}" if step > 1 else ""),
        f"{away} of these without this person, all joints invented" if away else "",
        f"{scene.fps:g} fps" + (" (assumed)" if scene.fps_assumed else ""),
        *scene.notes,
        f"left and right put back in {part.swapped} frames" if part.swapped else "",
        part.how,
    ]
    return Keypoints(
        part.filled.astype(np.float32),
        scene.size_px,
        scene.fps,
        scene.layout.name,
        first,
        step,
        "; ".join(s for s in said if s),
        number,
        len(scene.people.of),
        n,
        parts,
        scene.zero,
        scene.layout.joints,
        part.found.astype(np.float32),
        to_canonical(torch.from_numpy(part.found), scene.layout).numpy().astype(np.float32),
        (warning,) if warning else (),
    )
