"""OpenPose: a folder with a file {people: [{pose_keypoints_2d}]} a frame, or a list of what is in them.

Version 1.0 called the key ``pose_keypoints``.  BODY_25 has 25 joints, the COCO model 18.
"""

from __future__ import annotations

from typing import Any

from moga_st.data.pose.keypoints.content import Content, Detection, person_number, points_of
from moga_st.data.pose.skeleton import BODY_25, OPENPOSE18

KIND = "OpenPose"


def read(content: Any, number: int | None) -> Content | None:
    """The file's content, or None if it is another format's; ``number`` is the frame that the whole file stands for."""
    if isinstance(content, dict) and isinstance(content.get("people"), list):
        content = [content]
    if not isinstance(content, list) or not content:
        return None
    if not all(isinstance(frame, dict) and isinstance(frame.get("people"), list) for frame in content):
        return None
    frames = [(i if number is None else number, frame["people"]) for i, frame in enumerate(content)]
    found = []
    for i, people in frames:
        for person in people:
            flat = person["pose_keypoints_2d"] if "pose_keypoints_2d" in person else person["pose_keypoints"]
            if len(flat):
                found.append(Detection(i, points_of(flat), person_number(person.get("person_id"))))
    return Content(KIND, found, {i for i, _ in frames}, usual=(BODY_25, OPENPOSE18))
