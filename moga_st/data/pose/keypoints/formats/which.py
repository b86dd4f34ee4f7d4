"""Which format a file or folder is in: by what is in it, whatever it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from moga_st.data.pose.keypoints.content import DAMAGED, Content
from moga_st.data.pose.keypoints.formats import alphapose, coco, mediapipe, mmpose, openpose, vitpose, yolo
from moga_st.data.pose.keypoints.formats.arrays import read_npz
from moga_st.data.pose.keypoints.formats.deeplabcut import read_csv
from moga_st.data.pose.keypoints.numbering import frame_numbers
from moga_st.errors import BadInput
from moga_st.storage import first_bytes, read_json

JSON_READERS: dict[str, Callable[[Any, int | None], Content | None]] = {
    "mmpose": mmpose.read,
    "OpenPose": openpose.read,
    "COCO": coco.read,
    "ViTPose": vitpose.read,
    "ultralytics": yolo.read,
    "MediaPipe": mediapipe.read,
    "AlphaPose": alphapose.read,
}
NOTHING = "nothing"  # the kind of a file that holds an empty list


def holds_keypoints(path: Path) -> bool:
    """Whether a file or folder is taken for keypoints and not for a video, by its first bytes or what lies in it."""
    if path.is_dir():
        return any(_files(path, s) for s in (".json", ".txt"))
    if path.suffix.lower() in (".npz", ".json", ".csv", ".h5", ".txt"):
        return True
    try:
        start = first_bytes(path, 64)
    except BadInput:
        return False
    return start.startswith(b"PK\x03\x04") or start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def read_content(path: Path, clip: str | None = None) -> Content:
    """Take any keypoint file or folder apart.

    Raises:
        BadInput: not there, unreadable, or none of the formats known; the message names the file.
    """
    if path.is_dir():
        return _folder(path)
    start = first_bytes(path, 64)
    if start.startswith(b"PK\x03\x04") or path.suffix.lower() == ".npz":
        try:
            return read_npz(path, clip)
        except BadInput:
            raise
        except DAMAGED as error:
            raise BadInput(f"{path}: not keypoints ({error!s:.200})") from error
    if start.startswith(b"\x89HDF"):
        raise BadInput(f"{path}: HDF5 tables are not read; write the poses as CSV (DeepLabCut: save_as_csv=True)")
    if path.suffix.lower() == ".csv" or start.lstrip(b"\xef\xbb\xbf").startswith(b"scorer"):
        return read_csv(path)
    if path.suffix.lower() == ".txt":
        raise BadInput(f"{path}: one text file is one frame; name the folder of them")
    return _parsed(path, read_json(path, nan=True), None)


def _files(path: Path, suffix: str) -> list[Path]:
    inside = path / "labels" if suffix == ".txt" and (path / "labels").is_dir() else path
    return sorted(f for f in inside.glob(f"*{suffix}") if not f.name.startswith("."))


def _folder(path: Path) -> Content:
    files = _files(path, ".json")
    if not files:
        texts = _files(path, ".txt")
        if not texts:
            raise BadInput(f"{path}: no .json file in it, nor YOLO's .txt; name the folder that the detector wrote")
        return yolo.read_folder(texts)
    numbers = frame_numbers([f.name.removesuffix("_keypoints.json") for f in files])
    contents = [_parsed(f, read_json(f, nan=True), n) for f, n in zip(files, numbers, strict=True)]
    kinds = sorted({c.kind for c in contents} - {NOTHING})
    if len(kinds) > 1:
        raise BadInput(f"{path}: mixes {' and '.join(kinds)} files; keep those of one detector")
    first = next((c for c in contents if c.kind != NOTHING), contents[0])
    return first.merged(c for c in contents if c is not first)


def _parsed(path: Path, content: Any, number: int | None) -> Content:
    if content in ([], {}):
        return Content(NOTHING, [], set() if number is None else {number})
    for name, read in JSON_READERS.items():
        try:
            found = read(content, number)
        except BadInput:
            raise
        except DAMAGED as error:
            raise BadInput(
                f"{path}: not keypoints in {name}'s JSON ({type(error).__name__}: {error!s:.200})"
            ) from error
        if found is not None:
            return found
    raise BadInput(
        f"{path}: not keypoints in a JSON known here ({', '.join(JSON_READERS)}); give one of these, or npz with an "
        "array 'keypoints' (t, j, 2 or 3)"
    )
