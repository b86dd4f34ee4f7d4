"""easy_ViTPose: {keypoints: [{person: (j, 3)} a frame], skeleton: {index: name}}, each point y, x, confidence."""

from __future__ import annotations

from typing import Any

import numpy as np

from moga_st.data.pose.keypoints.content import Content, Detection, person_number, with_confidence
from moga_st.data.pose.skeleton import COCO17


def read(content: Any, _number: int | None) -> Content | None:
    """The file's content, or None if it is another format's."""
    if not (isinstance(content, dict) and "skeleton" in content and isinstance(content.get("keypoints"), list)):
        return None
    if not all(isinstance(frame, dict) for frame in content["keypoints"]):
        return None
    found = [
        Detection(i, with_confidence(np.array(points, float)[:, [1, 0, 2]]), person_number(person))
        for i, frame in enumerate(content["keypoints"])
        for person, points in frame.items()
        if len(points)
    ]
    skeleton = content["skeleton"]
    names = enumerate(skeleton) if isinstance(skeleton, list) else ((int(k), v) for k, v in skeleton.items())
    return Content(
        "ViTPose",
        found,
        set(range(len(content["keypoints"]))),
        names={i: str(name) for i, name in names},
        usual=(COCO17,),
        notes=("points are y, x",),
    )
