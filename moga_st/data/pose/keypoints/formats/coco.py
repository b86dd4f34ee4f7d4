"""COCO's two forms: results, a list of {image_id, keypoints, score}, as AlphaPose and others write it too; and
annotations, {images, annotations, categories}, which PoseTrack shares.

Joints of annotations have a flag in place of a confidence: 0 not labelled, 1 hidden, 2 seen.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from moga_st.data.pose.keypoints.content import Content, Detection, frame_number, person_number, points_of, size_of
from moga_st.data.pose.keypoints.numbering import frame_numbers
from moga_st.data.pose.skeleton import COCO17, HALPE26


def read(content: Any, _number: int | None) -> Content | None:
    """The file's content, or None if it is another format's."""
    if isinstance(content, dict) and isinstance(content.get("annotations"), list) and "images" in content:
        return _annotations(content)
    if not isinstance(content, list) or not content:
        return None
    if not all(isinstance(p, dict) and "image_id" in p and "keypoints" in p for p in content):
        return None
    numbers = frame_numbers([p["image_id"] for p in content])
    found = [
        Detection(frame, points_of(p["keypoints"]), person_number(p.get("idx", p.get("track_id"))))
        for frame, p in zip(numbers, content, strict=True)
        if len(p["keypoints"])
    ]
    alphapose = any("idx" in p for p in content) or isinstance(content[0]["image_id"], str)
    kind = "AlphaPose" if alphapose else "COCO results"
    return Content(kind, found, set(numbers), usual=(COCO17, HALPE26) if alphapose else (COCO17,))


def _annotations(content: dict[str, Any]) -> Content:
    images, notes = content["images"], []
    by_name = all(isinstance(i.get("file_name"), str) for i in images)
    numbers = frame_numbers([i["file_name"] if by_name else i["id"] for i in images])
    if all("frame_id" in i for i in images) and len({i["frame_id"] for i in images}) == len(images):  # PoseTrack
        numbers = [frame_number(i["frame_id"]) for i in images]
    frame_of = {i["id"]: n for i, n in zip(images, numbers, strict=True)}
    sizes = Counter((i.get("width"), i.get("height")) for i in images)
    size = next(iter(sizes)) if sizes else (None, None)
    if len(sizes) > 1:
        notes.append(f"images of {len(sizes)} sizes, the first taken")
    found = []
    for person in content["annotations"]:
        if not len(person.get("keypoints") or ()):
            continue
        points = np.array(person["keypoints"], float).reshape(-1, 3)
        points[:, 2] /= 2.0
        found.append(Detection(frame_of[person["image_id"]], points_of(points), person_number(person.get("track_id"))))
    names = next((c["keypoints"] for c in content.get("categories") or () if c.get("keypoints")), [])
    return Content(
        "COCO annotations",
        found,
        set(numbers),
        names=dict(enumerate(map(str, names))),
        usual=(COCO17,),
        size_px=None if None in size else size_of(size),
        notes=tuple(notes),
    )
