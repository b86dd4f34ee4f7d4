"""2D keypoints of one person over time, from the files that pose detectors write, ready for lifting.

:func:`read_keypoints` reads npz, COCO results, AlphaPose, OpenPose and mmpose files, picks one person,
converts to Human3.6M-17 and fills what the detector missed; :func:`write_people` writes what it reads.
:func:`windows`, :func:`cut` and :func:`blend` take a clip of any length through a network of fixed length.

Shape legend: ``t`` frames, ``j`` joints, ``c`` channels (x, y in pixels, confidence in [0, 1]), ``n`` windows.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from moga_st.data.pose.people import area, follow
from moga_st.data.pose.skeleton import BODY_25, COCO17, H36M17, HALPE26, JOINTS, PARENTS, Layout, to_h36m17
from moga_st.errors import BadInput, nearest

LAYOUTS = {"h36m": H36M17, "coco": COCO17, "body_25": BODY_25, "halpe": HALPE26}
#: whole-body layouts begin with the body; the rest is left out
BODY_OF = {17: COCO17, 25: BODY_25, 26: HALPE26, 133: COCO17, 136: HALPE26}
FPS = 30.0  # assumed where nobody says

#: A person who stands and looks at the camera, x right and y down in units of the torso (Hip to Thorax).
#: A joint that never appears is put where this body has it, seen from its nearest neighbour.
STANDING = np.array(
    [
        *[(0, 0), (-0.27, 0), (-0.27, 0.9), (-0.27, 1.75), (0.27, 0), (0.27, 0.9), (0.27, 1.75)],
        *[(0, -0.5), (0, -1), (0, -1.25), (0, -1.45)],
        *[(0.3, -1), (0.4, -0.45), (0.4, 0.05), (-0.3, -1), (-0.4, -0.45), (-0.4, 0.05)],
    ]
)


@dataclass(frozen=True)
class Keypoints:
    """One person's keypoints, complete: no value is missing or NaN."""

    points_px: np.ndarray  # (t, 17, 3) float32, Human3.6M-17: x, y, and confidence; 0 where a joint was filled in
    size_px: tuple[int, int]  # width and height of the image
    fps: float  # of the frames here
    layout: str  # the layout that the file was in
    first_frame: int  # number in the file of the first frame here; as in the file, it may count from 0 or 1
    frame_step: int  # between the numbers of consecutive frames
    note: str  # what was read, chosen, assumed and filled in, for people and records
    person: int = 0  # number of the one taken
    people: int = 1  # how many there are in the file


class Detection(NamedTuple):
    """One person in one frame."""

    frame: int
    points: np.ndarray  # (j, 3) float64
    track: int | None  # the person's number in the file


def read_keypoints(
    path: Path,
    *,
    size_px: tuple[int, int] | None = None,
    fps: float | None = None,
    layout: str | None = None,
    person: int | None = None,
    min_confidence: float = 0.3,
    max_gap_s: float = 0.5,
) -> Keypoints:
    """Read one person's keypoints as Human3.6M-17.

    Formats:
        - npz: ``keypoints`` (t, j, 2 or 3), and optionally ``size_px`` (w, h), ``fps`` and ``layout``.
        - COCO results: a list of {image_id, keypoints (3j), score}.
        - AlphaPose: the same with file names as image_id, and ``idx`` where it tracked.
        - OpenPose: a folder with a JSON file a frame, or a list of what is in them; ``person_id`` where it tracked.
        - mmpose: the inferencer's list of {frame_id, instances}, its demo's {instance_info}, or a folder of
          the inferencer's files, one an image.  :func:`write_people` adds size_px, fps and layout to it.

    Frames are numbered by image_id, frame_id, the last number in a file's name, or else by their order.
    Numbers with a constant step count as consecutive, at a frame rate as many times lower; missing ones are filled.
    The step is that of all frames listed, also those without people, which OpenPose and mmpose write.

    A joint below ``min_confidence``, NaN, or at exactly (0, 0) is missing.  At most ``max_gap_s`` long, a gap
    is filled linearly in time, and held at the ends; in a longer one, a joint follows its nearest ancestor,
    its offset from which is filled in that way.  One that never appears is put where a standing body has it.
    All have confidence 0.

    Args:
        size_px: width and height of the image, where the file does not say.
        fps: frame rate of the file's numbering: where that steps by 5, 5 times that of the keypoints; the file's,
            else 30.
        layout: "h36m", "coco", "body_25" or "halpe"; by the number of joints if left out.
        person: the person's number in the file; where the file has none, people are followed over the frames
            and numbered from 0 as they appear (:func:`moga_st.data.pose.people.follow`).  Left out: the one with
            the largest boxes around the joints seen, summed over the frames.

    Raises:
        BadInput: nothing there, unreadable, another format or joint count, mixed joint counts, no such person,
            nothing seen of them, an unknown image size, or coordinates that do not fit it.
    """
    if not (0.0 <= min_confidence <= 1.0 and max_gap_s >= 0.0):
        raise BadInput(f"need min_confidence in [0, 1] and max_gap_s >= 0, got {min_confidence} and {max_gap_s}")
    said: dict[str, Any] = {}
    if path.suffix.lower() == ".npz":
        detections, said = _from_npz(path)
        listed, kind = {d.frame for d in detections}, "npz"
    else:
        detections, listed, kind, said = _from_json(path)
    if not detections:
        raise BadInput(f"{path}: holds no person; give the detector's output for a clip with one")
    counts = Counter(len(d.points) for d in detections)
    if len(counts) > 1:
        found = ", ".join(f"{j} joints in {n}" for j, n in sorted(counts.items()))
        raise BadInput(f"{path}: mixed keypoint layouts ({found} entries); keep those of one detector")
    detections = [d._replace(points=_missing_as_nan(d.points, min_confidence)) for d in detections]
    named = layout or said.get("layout")
    source = _layout(path, next(iter(counts)), named, kind)
    width, height = _size(path, said.get("size_px") if size_px is None else size_px)
    given = said.get("fps") if fps is None else fps
    if given is not None and not (given > 0 and math.isfinite(given)):
        raise BadInput(f"{path}: the frame rate must be positive, got {given}")

    detections, zero, step = _number(path, detections, listed)
    rate = (FPS if given is None else given) / step
    tracks, tracked = _tracks(detections, round(max_gap_s * rate) + 1)
    if not tracks:
        raise _nothing_seen(path, "anyone", min_confidence)
    taken, choice = _choose(path, tracks, person, tracked)
    chosen = tracks[taken]
    first, last = chosen[0].frame, chosen[-1].frame
    points = np.full((last - first + 1, len(source.joints), 3), np.nan)
    for d in chosen:
        points[d.frame - first] = d.points[: len(source.joints)]
    points[np.isnan(points).any(-1)] = (np.nan, np.nan, 0.0)  # frames without a detection
    points = to_h36m17(torch.from_numpy(points), source).numpy()
    missing = np.any(np.isnan(points), axis=-1)
    if missing.all():
        raise _nothing_seen(path, choice, min_confidence)
    _check_inside(path, points[~missing][:, :2], (width, height))
    filled, how = _fill(points, missing, round(max_gap_s * rate))
    parts = [
        f"{path.name}: {kind}, {source.name}, {choice}",
        f"frames {zero + first * step} to {zero + last * step}" + (f" in steps of {step}" if step > 1 else ""),
        f"{rate:g} fps" + (" (assumed)" if given is None else ""),
        how,
    ]
    return Keypoints(
        filled.astype(np.float32),
        (width, height),
        float(rate),
        source.name,
        zero + first * step,
        step,
        "; ".join(parts),
        taken,
        len(tracks),
    )


def write_people(
    path: Path, people: Iterable[Iterable[np.ndarray]], size_px: tuple[int, int], fps: float, layout: str
) -> None:
    """Write all people of a video, each (j, 3), frame by frame from 0, as mmpose's demo does; ``meta_info`` says what
    :func:`read_keypoints` needs to know besides."""
    frames = [
        {
            "frame_id": i,
            "instances": [
                {"keypoints": p[:, :2].round(2).tolist(), "keypoint_scores": p[:, 2].round(4).tolist()} for p in found
            ],
        }
        for i, found in enumerate(people)
    ]
    content = {"meta_info": {"size_px": list(size_px), "fps": fps, "layout": layout}, "instance_info": frames}
    path.write_text(json.dumps(content))


def _from_npz(path: Path) -> tuple[list[Detection], dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path}: cannot be read as npz ({error})") from error
    if "keypoints" not in arrays:
        raise BadInput(f"{path}: has no array 'keypoints' (t, j, 2 or 3); it has {', '.join(arrays) or 'nothing'}")
    points = arrays["keypoints"]
    if points.ndim != 3 or points.shape[2] not in (2, 3) or not np.issubdtype(points.dtype, np.number):
        raise BadInput(
            f"{path}: keypoints must be numbers of shape (t, j, 2 or 3), got {points.dtype} {points.shape}; "
            "for several people write one file each"
        )
    return [Detection(i, _with_confidence(p), 0) for i, p in enumerate(points.astype(np.float64))], _said(path, arrays)


def _said(path: Path, meta: dict[str, Any]) -> dict[str, Any]:
    """What a file says of its video."""
    said: dict[str, Any] = {}
    try:
        if "size_px" in meta:
            w, h = np.asarray(meta["size_px"]).tolist()
            said["size_px"] = (int(w), int(h))
        if "fps" in meta:
            said["fps"] = float(meta["fps"])
        if "layout" in meta:
            said["layout"] = str(meta["layout"])
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path}: size_px must be (w, h) and fps one number ({error})") from error
    return said


def _from_json(path: Path) -> tuple[list[Detection], set[int], str, dict[str, Any]]:
    """Detections in the order of the file, the frames it lists, with people or without, the name of its format, and
    what it says of its video."""
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if not files:
            raise BadInput(f"{path}: no .json file in it; name the folder that the detector wrote")
        numbers = _frame_numbers([f.name.removesuffix("_keypoints.json") for f in files])
        contents = [_load(f) for f in files]
    else:
        contents, numbers, files = [_load(path)], [None], [path]
    found: list[Detection] = []
    listed: set[int] = set()
    kinds = set()
    for file, content, number in zip(files, contents, numbers, strict=True):
        try:
            detections, frames, kind = _parse(content, number)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise BadInput(
                f"{file}: not keypoints in COCO results, AlphaPose, OpenPose or mmpose JSON "
                f"({type(error).__name__}: {error})"
            ) from error
        found += detections
        listed.update(frames)
        kinds.add(kind)
    if len(kinds) > 1:
        raise BadInput(f"{path}: mixes {' and '.join(sorted(kinds))} files; keep those of one detector")
    meta = contents[0].get("meta_info") if isinstance(contents[0], dict) else None
    return found, listed, kinds.pop(), _said(path, meta) if isinstance(meta, dict) else {}


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:  # bad JSON and bad UTF-8 are ValueErrors
        raise BadInput(f"{file}: cannot be read as JSON ({error})") from error


def _parse(content: Any, number: int | None) -> tuple[list[Detection], list[int], str]:
    """Detections, frames listed and format of one file; ``number`` is the frame that a file of a folder stands for."""
    if isinstance(content, dict) and "instance_info" in content:
        content = content["instance_info"]
    if isinstance(content, dict) and "people" in content:
        content = [content]
    if not isinstance(content, list):
        raise ValueError("expected a list, or an object with 'people' or 'instance_info'")
    if not content:
        return ([], [], "empty") if number is None else ([], [number], "mmpose")
    keys = content[0].keys()
    if "people" in keys:
        frames = [(i if number is None else number, frame["people"]) for i, frame in enumerate(content)]
        found = [
            Detection(i, _points(p["pose_keypoints_2d"]), _whole(p.get("person_id")))
            for i, people in frames
            for p in people
            if len(p["pose_keypoints_2d"])
        ]
        return found, [i for i, _ in frames], "OpenPose"
    if "instances" in keys:
        frames = [(int(frame["frame_id"]), frame["instances"]) for frame in content]
        return [_instance(i, p) for i, people in frames for p in people], [i for i, _ in frames], "mmpose"
    if "keypoint_scores" in keys:
        return [_instance(number or 0, p) for p in content], [number or 0], "mmpose"
    numbers = _frame_numbers([p["image_id"] for p in content])
    alphapose = "idx" in keys or isinstance(content[0]["image_id"], str)
    found = [Detection(i, _points(p["keypoints"]), _whole(p.get("idx"))) for i, p in zip(numbers, content, strict=True)]
    return found, numbers, "AlphaPose" if alphapose else "COCO results"


def _instance(frame: int, person: dict[str, Any]) -> Detection:
    xy, score = np.array(person["keypoints"], float), np.array(person["keypoint_scores"], float)
    points = _with_confidence(np.concatenate([xy[:, :2], score[:, None]], axis=1))
    return Detection(frame, points, _whole(person.get("track_id")))


def _points(flat: list[float]) -> np.ndarray:
    points = np.array(flat, float).reshape(-1, 3)
    return _with_confidence(points)


def _with_confidence(points: np.ndarray) -> np.ndarray:
    """(j, 2 or 3) -> (j, 3): without one the confidence is 1; above 1 (COCO's flag 2, old AlphaPose,
    SimCC) it counts as 1."""
    confidence = np.clip(points[:, 2], 0.0, 1.0) if points.shape[1] == 3 else np.ones(len(points))
    return np.column_stack([points[:, :2], confidence])


def _whole(track: Any) -> int | None:
    """A person's number: an int, a float, or a list of one; -1 and nothing mean none."""
    values = np.ravel(np.array([] if track is None else track, float))
    return int(values[0]) if len(values) and values[0] >= 0 else None


def _frame_numbers(names: list[Any]) -> list[int]:
    """Numbers as they are; of names the last group of digits if all have one and they tell the names apart,
    else the rank among the names."""
    if all(isinstance(name, int) for name in names):
        return names
    stems = [re.sub(r"\.[A-Za-z]\w*$", "", str(name)) for name in names]
    digits = [re.findall(r"\d+", stem) for stem in stems]
    if all(digits) and len({int(d[-1]) for d in digits}) == len(set(stems)):
        return [int(d[-1]) for d in digits]
    rank = {stem: i for i, stem in enumerate(sorted(set(stems)))}
    return [rank[stem] for stem in stems]


def _layout(path: Path, joints: int, named: str | None, kind: str) -> Layout:
    if named is not None:
        known = {re.sub(r"\W|_", "", k.lower()): v for k, v in LAYOUTS.items()}
        known |= {re.sub(r"\W|_", "", v.name.lower()): v for v in LAYOUTS.values()}
        layout = known.get(re.sub(r"\W|_", "", named.lower()))
        if layout is None:
            raise BadInput(f"unknown layout {named!r}{nearest(named, LAYOUTS)}; expected {', '.join(LAYOUTS)}")
        if joints != len(layout.joints) and BODY_OF.get(joints) is not layout:
            raise BadInput(f"{path}: has {joints} joints, {layout.name} has {len(layout.joints)}; say another --layout")
        return layout
    if joints not in BODY_OF:
        raise BadInput(
            f"{path}: {joints} joints are no layout known here; expected 17 (coco or h36m), 25 (body_25), 26 (halpe), "
            "133 or 136 (whole body)"
        )
    if joints == 17 and kind == "npz":
        raise BadInput(f"{path}: 17 joints may be COCO-17 or Human3.6M-17; say which with --layout coco or h36m")
    return BODY_OF[joints]


def _size(path: Path, size_px: tuple[int, int] | None) -> tuple[int, int]:
    if size_px is None:
        raise BadInput(f"{path}: does not say how large the image is; give its width and height with --size-px")
    if min(size_px) < 1:
        raise BadInput(f"size_px must be positive, got {size_px}")
    return size_px


def _check_inside(path: Path, xy_px: np.ndarray, size_px: tuple[int, int]) -> None:
    if np.abs(xy_px).max() <= 2:
        raise BadInput(f"{path}: the coordinates look normalised (all within 2); give them in pixels")
    outside = ((xy_px < 0) | (xy_px > size_px)).any(-1).mean()
    if outside > 0.5:
        raise BadInput(
            f"{path}: {outside:.0%} of the keypoints lie outside an image of {size_px[0]}x{size_px[1]}; give its true "
            "size with --size-px"
        )


def _number(path: Path, detections: list[Detection], listed: set[int]) -> tuple[list[Detection], int, int]:
    """Sorted and numbered 0, 1, ...; then the first number ``listed`` in the file and the step between numbers."""
    detections = sorted(detections, key=lambda d: d.frame)
    present = sorted(listed)
    step = math.gcd(*(b - a for a, b in pairwise(present))) or 1
    span = (present[-1] - present[0]) // step + 1
    if span > 20 * len(present) + 100:
        raise BadInput(
            f"{path}: {len(present)} frames are numbered from {present[0]} to {present[-1]}, which is no clip; "
            "give consecutive frames of one video"
        )
    return [d._replace(frame=(d.frame - present[0]) // step) for d in detections], present[0], step


def _tracks(detections: list[Detection], patience: int) -> tuple[dict[int, list[Detection]], bool]:
    """Detections by person, and whether the file numbers them.  If not, those that show no joint are nobody, and
    where a frame holds several, they are followed."""
    tracks: dict[int, list[Detection]] = {}
    if all(d.track is not None for d in detections):
        for d in detections:
            tracks.setdefault(d.track or 0, []).append(d)
        return {k: list({d.frame: d for d in v}.values()) for k, v in sorted(tracks.items())}, True
    detections = [d for d in detections if not np.isnan(d.points[:, :2]).all()]
    by_frame: dict[int, list[Detection]] = {}
    for d in detections:
        by_frame.setdefault(d.frame, []).append(d)
    if len(by_frame) == len(detections):
        return ({0: detections} if detections else {}), False
    numbers = follow({frame: [d.points for d in people] for frame, people in by_frame.items()}, patience)
    for frame, people in by_frame.items():
        for number, d in zip(numbers[frame], people, strict=True):
            tracks.setdefault(number, []).append(d)
    return dict(sorted(tracks.items())), False


def _choose(path: Path, tracks: dict[int, list[Detection]], person: int | None, tracked: bool) -> tuple[int, str]:
    """The number of the person to take, and a phrase on the choice."""
    if person is not None and person not in tracks:
        listed = ", ".join(f"{k} ({len(v)} frames)" for k, v in list(tracks.items())[:12])
        raise BadInput(f"{path}: no person {person}; there are {listed}{', ...' if len(tracks) > 12 else ''}")
    if len(tracks) == 1:
        return next(iter(tracks)), "the only person"
    areas = {k: sum(area(d.points) for d in v) for k, v in tracks.items()}
    chosen = max(areas, key=lambda k: areas[k]) if person is None else person
    why = "" if person is not None else ", the largest boxes summed over the frames"
    numbered = "numbered in the file" if tracked else "followed over the frames"
    return chosen, f"person {chosen} of {len(tracks)} ({numbered}{why})"


def _nothing_seen(path: Path, whom: str, min_confidence: float) -> BadInput:
    return BadInput(
        f"{path}: no joint of {whom} has a place and a confidence of {min_confidence} or more; lower "
        "--min-confidence or choose another person"
    )


def _missing_as_nan(points: np.ndarray, min_confidence: float) -> np.ndarray:
    """NaN in the place and 0 in the confidence of keypoints that count as not seen."""
    unseen = ~np.isfinite(points).all(-1) | (points[..., 2] < min_confidence) | (points[..., 2] == 0)
    unseen |= (points[..., :2] == 0).all(-1)
    out = points.copy()
    out[unseen] = (np.nan, np.nan, 0.0)
    return out


def _fill(points: np.ndarray, missing: np.ndarray, max_gap: int) -> tuple[np.ndarray, str]:
    """Fill the joints (t, 17) that are missing, as :func:`read_keypoints` says; second, a sentence on what was done."""
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
