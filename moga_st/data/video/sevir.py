"""SEVIR's radar (vertically integrated liquid, VIL) as prepared clips: 384x384 at 5 minutes, 0 to 255.

``CATALOG.csv`` lists events with their time and their place in the HDF5 files, whose data set ``vil`` is
(n, 384, 384, 49) uint8; the split is by date, as published.  Files of one's own of the same kind, without a catalogue,
are split by file: the last two in the order of their names validate and test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moga_st import storage
from moga_st.data.video.prepared_clips import Split, check_space, write_clips
from moga_st.errors import BadInput

FIRST_VAL, FIRST_TEST = np.datetime64("2019-01-01"), np.datetime64("2019-06-01")
WINDOW, STEP = 25, 12  # 13 in, 12 out; frames between windows that are scored
SOURCE = "SEVIR, VIL (Veillette, Samsi, Mattioli, NeurIPS 2020)"
LICENCE = "free for any use; cite the paper"
FPS = 1 / 300
KIND = "vil"


class Event(NamedTuple):
    """One event of a file."""

    name: str
    split: Split
    place: int  # in its file


def prepare(source: Path, out: Path, size: int = 384) -> None:
    """Write the prepared file of SEVIR's VIL.

    Args:
        source: The folder with CATALOG.csv and data/vil/ (or vil/), or a folder of such HDF5 files.
        out: The file to write.
        size: Side of a frame: 384, or a divisor of it, to which blocks of pixels are averaged.

    Raises:
        BadInput: no such files, or their arrays are not as expected.
    """
    if size < 1 or 384 % size:
        raise BadInput(f"size: expected 384 or a divisor of it, got {size}")
    catalogue = source / "CATALOG.csv"
    by_date = catalogue.is_file()
    events = _from_catalogue(catalogue) if by_date else _from_files(source)
    conventions = {
        "values": "VIL as SEVIR stores it, 0 to 255, / 255; thresholds 16, 74, 133, 160, 181, 219 are on 0 to 255",
        "csi, pod, far": "counts of hits, misses and false alarms pooled over all test frames",
        "split": f"train before {FIRST_VAL}, val before {FIRST_TEST}, test from then on" if by_date else "by file",
        "windows": f"val and test: {WINDOW} frames, every {STEP}th start",
    }
    frames = sum(_frames_in(path, listed) for path, listed in events.items())
    total = check_space(out, frames, (size, size, 1))
    with write_clips(out, SOURCE, LICENCE, (KIND,), fps=FPS, conventions=conventions, frames=total) as writer:
        for path, listed in sorted(events.items()):
            with storage.open_hdf5(path) as file:
                data = file.get(KIND)
                if (
                    data is None
                    or getattr(data, "ndim", 0) != 4
                    or data.dtype != np.uint8
                    or data.shape[1:3] != (384, 384)
                ):
                    raise BadInput(f"{path}: expected a data set {KIND} of uint8 (n, 384, 384, t)")
                # without a catalogue, every event of the file, which only now is known
                for event in listed or _all_of(path, len(data), events):
                    if event.place >= len(data):
                        raise BadInput(f"{path}: holds {len(data)} events, the catalogue names number {event.place}")
                    starts = None if event.split == "train" else list(range(0, data.shape[3] - WINDOW + 1, STEP))
                    clip = data[event.place].transpose(2, 0, 1)
                    writer.add_clip(event.split, event.name, (shrink(f, size) for f in clip), starts=starts)


def _frames_in(path: Path, listed: list[Event]) -> int:
    """How many frames the events of a file have, all of them where none are listed; 0 where it is not as expected."""
    with storage.open_hdf5(path) as file:
        shape = getattr(file.get(KIND), "shape", ())
        return (len(listed) or shape[0]) * shape[3] if len(shape) == 4 else 0


def shrink(frame: np.ndarray, size: int) -> np.ndarray:
    """(h, w) uint8 to (size, size) uint8 by the means of blocks."""
    step = len(frame) // size
    return np.rint(frame.reshape(size, step, size, step).mean((1, 3))).astype(np.uint8) if step > 1 else frame


def split_of(moment: np.datetime64) -> Split:
    """The part that an event of that time belongs to."""
    return "train" if moment < FIRST_VAL else "val" if moment < FIRST_TEST else "test"


def _from_catalogue(path: Path) -> dict[Path, list[Event]]:
    """The VIL events of each file that is there."""
    rows = storage.read_table(path, ("id", "file_name", "file_index", "img_type", "time_utc"))
    events: dict[Path, list[Event]] = defaultdict(list)
    seen: set[str] = set()
    for line, row in rows:
        if row["img_type"] != KIND or row["id"] in seen:
            continue
        try:
            event = Event(row["id"], split_of(np.datetime64(row["time_utc"].replace(" ", "T"))), int(row["file_index"]))
        except ValueError as error:
            raise BadInput(f"{path}: line {line}: {error}; fetch SEVIR's catalogue again") from error
        if ".." in row["file_name"]:
            raise BadInput(f"{path}: line {line} names a file outside of its folder")
        places = [path.parent / "data" / row["file_name"], path.parent / row["file_name"]]
        file = next((p for p in places if p.is_file()), None)
        if file is not None:
            seen.add(row["id"])
            events[file].append(event)
    if not events:
        raise BadInput(f"{path}: none of its {KIND} files is in data/{KIND}/ beside it; add them")
    return {file: sorted(listed, key=lambda e: e.place) for file, listed in events.items()}


def _from_files(source: Path) -> dict[Path, list[Event]]:
    files = sorted(p for p in source.rglob("*.h5"))
    if len(files) < 3:
        raise BadInput(
            f"{source}: has no CATALOG.csv, and {len(files)} .h5 files; without the catalogue's dates, three files or "
            "more are split by file"
        )
    return {path: [] for path in files}


def _all_of(path: Path, count: int, files: dict[Path, list[Event]]) -> Iterator[Event]:
    place = len(files) - sorted(files).index(path)
    split: Split = "test" if place == 1 else "val" if place == 2 else "train"
    return (Event(f"{path.stem}/{i}", split, i) for i in range(count))
