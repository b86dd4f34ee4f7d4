"""AlphaPose's forms ``cmu`` and ``open``, and PoseFlow's: an object with an entry for every image.

Its default form is a list like COCO's results: :mod:`moga_st.data.pose.keypoints.formats.coco`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from moga_st.data.pose.keypoints.content import Content, Detection, joined, person_number, points_of
from moga_st.data.pose.keypoints.numbering import frame_numbers
from moga_st.data.pose.skeleton import COCO17, HALPE26, OPENPOSE18

KIND = "AlphaPose"


def read(content: Any, number: int | None) -> Content | None:
    """The file's content, or None if it is another format's; ``number`` is the frame that the whole file stands for."""
    if not isinstance(content, dict) or not content:
        return None
    if isinstance(content.get("bodies"), list):  # one image's file of the form cmu
        images: dict[str, Any] = {"": content}
    elif all(isinstance(v, dict) and ("people" in v or "bodies" in v) for v in content.values()):
        images = content
    elif all(isinstance(v, list) for v in content.values()) and any(content.values()):
        if not all("keypoints" in p for v in content.values() for p in v if isinstance(p, dict)):
            return None
        if not all(isinstance(p, dict) for v in content.values() for p in v):
            return None
        images = content
    else:
        return None
    numbers = [number or 0] if "" in images else frame_numbers(list(images))
    found = [
        Detection(frame, _points(person), person_number(person.get("idx")))
        for frame, people in zip(numbers, images.values(), strict=True)
        for person in (people if isinstance(people, list) else people.get("people", people.get("bodies")))
        if len(_flat(person))
    ]
    return Content(KIND, found, set(numbers), usual=(OPENPOSE18, COCO17, HALPE26))


def _flat(person: dict[str, Any]) -> Any:
    key = next(k for k in ("pose_keypoints_2d", "joints", "keypoints") if k in person)
    return person[key]


def _points(person: dict[str, Any]) -> np.ndarray:
    scores = person.get("scores", person.get("kp_score"))
    if isinstance(scores, list):  # PoseFlow keeps them apart
        return joined(np.reshape(person["keypoints"], (len(scores), -1)), np.ravel(np.array(scores, float)))
    return points_of(_flat(person))
