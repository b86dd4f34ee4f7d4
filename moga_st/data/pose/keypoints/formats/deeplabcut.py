"""DeepLabCut's CSV: rows scorer, (individuals,) bodyparts, coords, then a row a frame; joints have the user's names."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from moga_st.data.pose.keypoints.content import Content, Detection, with_confidence
from moga_st.data.pose.keypoints.numbering import frame_numbers
from moga_st.errors import BadInput
from moga_st.storage import read_text

HEADERS = ("scorer", "individuals", "bodyparts", "coords")


def read_csv(path: Path) -> Content:
    """
    Raises:
        BadInput: no such file, or a table that is not DeepLabCut's.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(read_text(path), newline="")) if row]
    except csv.Error as error:
        raise BadInput(f"{path}: cannot be read as CSV ({error})") from error
    head = {row[0].strip().lower(): [c.strip() for c in row] for row in rows[:4] if row[0].strip().lower() in HEADERS}
    body = rows[len(head) :]
    if not {"bodyparts", "coords"} <= set(head) or not body:
        raise BadInput(f"{path}: not DeepLabCut's CSV; expected rows 'scorer', 'bodyparts' and 'coords', then frames")
    width = len(head["coords"])
    first = head["coords"].index("x")  # columns before it are the index: a frame, or folders and a file name
    if {len(row) for row in [*head.values(), *body]} != {width}:
        raise BadInput(f"{path}: rows of different lengths; write the file again")
    try:
        values = np.array([[float(c) if c.strip() else np.nan for c in row[first:]] for row in body])
        labels = [row[first - 1] for row in body]
        numbers = frame_numbers([int(c) if c.isdigit() else c for c in labels])
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{path}: not DeepLabCut's CSV ({error})") from error
    who = head.get("individuals", [""] * width)[first:]
    parts, coords = head["bodyparts"][first:], head["coords"][first:]
    people = list(dict.fromkeys(who))
    names = list(dict.fromkeys(parts))
    table = np.full((len(people), len(body), len(names), 3), np.nan)
    table[..., 2] = 0.0
    for column, (person, part, coord) in enumerate(zip(who, parts, coords, strict=True)):
        if coord in ("x", "y", "likelihood"):
            at = ("x", "y", "likelihood").index(coord)
            table[people.index(person), :, names.index(part), at] = values[:, column]
    if "likelihood" not in coords:
        table[..., 2] = 1.0
    found = [
        Detection(frame, with_confidence(np.nan_to_num(table[k, i], nan=0.0)), k if len(people) > 1 else None)
        for k in range(len(people))
        for i, frame in enumerate(numbers)
        if np.isfinite(table[k, i, :, :2]).all(-1).any()
    ]
    return Content("DeepLabCut", found, set(numbers), names=dict(enumerate(names)))
