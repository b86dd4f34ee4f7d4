"""KTH Actions as prepared clips: six actions of 25 persons, grey, 25 frames a second.

Two layouts are read: the images that the field's loaders read, ``ACTION/personNN_ACTION_dK_uncomp/image_0001*``, and
the videos that KTH gives out, ``personNN_ACTION_dK_uncomp.avi`` anywhere in the folder, with ``00sequences.txt``, which
lists the frames (from 1) in which the person is seen.  A clip is a run of consecutive frame numbers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moga_st import storage
from moga_st.data.video.clips import open_video
from moga_st.data.video.prepared_clips import Split, check_space, write_clips
from moga_st.data.video.published import FRAME_SUMS, read_image, resize, runs, windows_from_end
from moga_st.errors import BadInput

ACTIONS = ("boxing", "handclapping", "handwaving", "walking", "jogging", "running")
TEST_PERSONS, VAL_PERSONS = range(17, 26), range(15, 17)
DENSE_STEP = 3  # frames between test windows of jogging and running, where a person crosses the picture quickly
SOURCE = "KTH Actions (Schuldt, Laptev, Caputo: Recognizing human actions, ICPR 2004)"
LICENCE = "none stated; publicly available from KTH for research, cite the paper"
FPS = 25.0
LONGEST = 100_000  # frames that a list may name, over an hour of them

_NAME = re.compile(r"person(\d\d)_([a-z]+)_d\d")


class Recording(NamedTuple):
    """The frames of one video that are used."""

    name: str  # person01_boxing_d1
    person: int
    action: str
    numbers: list[int]  # ascending
    frames: Iterator[np.ndarray]  # (h, w, 1) uint8, one for each number


def prepare(source: Path, out: Path, size: int = 128, window: int = 30) -> None:
    """Write the prepared file of KTH Actions.

    Args:
        source: The folder with the six actions' folders of images, or with KTH's .avi files and 00sequences.txt.
        out: The file to write.
        size: Side of the square that frames are resized to; the published one is 128.
        window: Frames of a test window: 30 for 10 in, 20 out; 50 for 10 in, 40 out.

    Raises:
        BadInput: neither layout is there, or a file of it cannot be read.
    """
    conventions = {
        "mse, mae": FRAME_SUMS,
        "split": "persons 1-14 train, 15-16 validate, 17-25 test",
        "windows": f"val and test: {window} frames from each clip's end backwards, without overlap; every "
        f"{DENSE_STEP}rd start for jogging and running",
    }
    recordings = _recordings(source)
    total = check_space(out, _count(source), (size, size, 1))
    with write_clips(out, SOURCE, LICENCE, ("grey",), fps=FPS, conventions=conventions, frames=total) as writer:
        for recording in recordings:
            split = split_of(recording.person)
            for run in runs(recording.numbers):
                count = run.stop - run.start
                clip = [resize(frame, size, size, "bilinear") for frame in itertools.islice(recording.frames, count)]
                if count < window:
                    continue  # no window fits into it
                starts = None if split == "train" else window_starts(recording.action, count, window)
                writer.add_clip(split, f"{recording.name}/{recording.numbers[run.start]:04d}", clip, starts=starts)


def split_of(person: int) -> Split:
    """The part that a person's clips belong to."""
    return "test" if person in TEST_PERSONS else "val" if person in VAL_PERSONS else "train"


def window_starts(action: str, count: int, window: int) -> list[int]:
    """First frames of the windows that are scored in a clip of ``count`` frames."""
    return windows_from_end(count, window, DENSE_STEP if action in ("jogging", "running") else window)


def read_sequences(path: Path) -> dict[str, list[int]]:
    """The frame numbers (from 1, ascending) of each video of ``00sequences.txt``, by its name without "_uncomp".

    Raises:
        BadInput: unreadable, or it lists nothing.
    """
    found = {}
    lines = re.findall(r"^\s*(person\d\d_[a-z]+_d\d)\s+frames\s+([\d ,\t-]+)", storage.read_text(path, "replace"), re.M)
    for name, listed in lines:
        pairs = [(int(a), int(b)) for a, b in re.findall(r"(\d{1,9})\s*-\s*(\d{1,9})", listed)]
        if any(b > LONGEST for _, b in pairs):
            raise BadInput(f"{path}: lists frame {max(b for _, b in pairs):,} of {name}, expected at most {LONGEST:,}")
        found[name] = sorted({i for a, b in pairs for i in range(a, b + 1)})
    if not found:
        raise BadInput(f"{path}: lists no frames; expected lines like 'person01_boxing_d1  frames  1-95, 96-185'")
    return found


def _folders(source: Path) -> list[Path]:
    roots = (source, source / "kth")
    return [p for root in roots for a in ACTIONS for p in root.glob(f"{a}/person*") if p.is_dir()]


def _count(source: Path) -> int:
    """How many frames there are, at most: images, or what 00sequences.txt lists."""
    if folders := _folders(source):
        return sum(1 for folder in folders for _ in folder.glob("image_*"))
    return sum(len(numbers) for path in source.rglob("00sequences.txt") for numbers in read_sequences(path).values())


def _recordings(source: Path) -> Iterator[Recording]:
    """Of every video, one after the other.

    Raises:
        BadInput: there are none.
    """
    folders = _folders(source)
    if folders:
        return map(_from_images, sorted(folders))
    videos, lists = sorted(source.rglob("person*.avi")), sorted(source.rglob("00sequences.txt"))
    if not videos:
        raise BadInput(
            f"{source}: has neither folders of images like {ACTIONS[0]}/person01_{ACTIONS[0]}_d1_uncomp/ nor KTH's "
            ".avi files; name the folder that has"
        )
    if not lists:
        raise BadInput(f"{source}: lacks 00sequences.txt, which says in which frames a person is seen; add it")
    sequences = read_sequences(lists[0])
    return (_from_video(path, sequences) for path in videos)


def _from_images(folder: Path) -> Recording:
    paths = {int(p.stem[6:10]): p for p in folder.glob("image_*") if p.stem[6:10].isdigit()}
    numbers = sorted(paths)
    return Recording(*_named(folder), numbers, (read_image(paths[i])[..., :1] for i in numbers))


def _from_video(path: Path, sequences: dict[str, list[int]]) -> Recording:
    named = _named(path)
    if named[0] not in sequences:
        raise BadInput(f"{path}: 00sequences.txt does not list it; fetch that file again")
    frames = [frame[..., :1].copy() for frame in open_video(path)]  # a few megabytes
    numbers = [i for i in sequences[named[0]] if i <= len(frames)]  # some lists go on after the video's end
    return Recording(*named, numbers, (frames[i - 1] for i in numbers))


def _named(path: Path) -> tuple[str, int, str]:
    match = _NAME.match(path.name)
    if match is None or match[2] not in ACTIONS:
        raise BadInput(f"{path}: expected a name like person01_boxing_d1_uncomp")
    return match[0], int(match[1]), match[2]
