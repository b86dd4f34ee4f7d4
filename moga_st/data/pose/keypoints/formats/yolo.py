"""YOLO's poses: ultralytics' text files, one a frame, and its JSON.

A line of text is class, box (x, y, w, h), joints (x, y, or x, y, confidence), and, as options, the box's confidence
and the person's number; all in fractions of the image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from moga_st.data.pose.keypoints.content import Content, Detection, frame_number, joined, person_number, with_confidence
from moga_st.data.pose.keypoints.numbering import frame_numbers
from moga_st.data.pose.skeleton import COCO17
from moga_st.errors import BadInput
from moga_st.storage import read_text

#: numbers after class and box: (joints, numbers a joint), most usual first
FORMS = ((17, 3), (17, 2), (26, 3), (33, 3), (133, 3), (26, 2), (33, 2), (133, 2))


def read_folder(files: list[Path]) -> Content:
    """The text files of a folder.

    Raises:
        BadInput: a line that is not of this form.
    """
    numbers = frame_numbers([f.name for f in files])
    found = []
    for file, frame in zip(files, numbers, strict=True):
        for line in read_text(file).splitlines():
            if line.strip():
                found.append(_line(file, frame, line.split()))
    return Content("YOLO", found, set(numbers), usual=(COCO17,), normalised=True)


def _line(file: Path, frame: int, words: list[str]) -> Detection:
    try:
        values = [float(w) for w in words]
    except ValueError as error:
        raise BadInput(f"{file}: not a line of YOLO's pose labels ({error}); expected numbers") from error
    for joints, channels in FORMS:
        more = len(values) - 5 - joints * channels
        if 0 <= more <= 2:
            points = np.array(values[5 : 5 + joints * channels]).reshape(joints, channels)
            return Detection(frame, with_confidence(points), person_number(values[-1]) if more == 2 else None)
    raise BadInput(
        f"{file}: {len(values)} numbers in a line are none of YOLO's poses (class, box, then 17 joints of x, y and "
        "confidence); labels of boxes alone hold no pose"
    )


def read(content: Any, number: int | None) -> Content | None:
    """Ultralytics' JSON: a list of people a frame, or a list of such lists; None if it is another format's."""
    if not isinstance(content, list) or not content:
        return None
    frames = content if all(isinstance(f, list) for f in content) else [content]
    people = [p for f in frames for p in f]
    if not people or not all(isinstance(p, dict) and isinstance(p.get("keypoints"), dict) for p in people):
        return None
    found, listed = [], set()
    for i, frame in enumerate(frames):
        listed.add(i if number is None else number)
        for person in frame:
            said = person.get("frame", person.get("image_id"))
            at = frame_number(said) if said is not None else i if number is None else number
            listed.add(at)
            points = person["keypoints"]
            xy = np.column_stack([np.array(points["x"], float), np.array(points["y"], float)])
            if person.get("name", "person") == "person" and len(xy):
                sure = points.get("visible", points.get("confidence"))
                found.append(Detection(at, joined(xy, sure), person_number(person.get("track_id"))))
    return Content("ultralytics", found, listed, usual=(COCO17,))
