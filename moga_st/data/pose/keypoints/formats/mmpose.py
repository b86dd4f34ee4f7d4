"""mmpose: the inferencer's list of {frame_id, instances}, its demo's {meta_info, instance_info}, a file an image.

:func:`write_people` writes the demo's form, with what the video says added under ``meta_info``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from moga_st.data.pose.keypoints.content import Content, Detection, frame_number, joined, person_number, said_of
from moga_st.data.pose.skeleton import COCO17
from moga_st.storage import write_json

KIND = "mmpose"


def read(content: Any, number: int | None) -> Content | None:
    """The file's content, or None if it is another format's; ``number`` is the frame that the whole file stands for."""
    meta: dict[str, Any] = {}
    if isinstance(content, dict) and "instance_info" in content:
        meta = content.get("meta_info") or {}
        content = content["instance_info"]
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        return None
    if content and all("keypoint_scores" in entry for entry in content):  # of one image
        frame = number or 0
        return Content(KIND, [_instance(frame, p) for p in content], {frame}, usual=(COCO17,))
    if not (all("instances" in entry for entry in content) and (content or meta)):
        return None
    frames = [(frame_number(entry["frame_id"]), entry["instances"]) for entry in content]
    names = meta.get("keypoint_id2name") or {}
    names = dict(enumerate(names)) if isinstance(names, list) else {int(k): str(v) for k, v in names.items()}
    found = [_instance(i, p) for i, people in frames for p in people if len(p["keypoints"])]
    kind = str(meta.get("found_by") or KIND)
    return Content(kind, found, {i for i, _ in frames}, names=names, usual=(COCO17,), **said_of(meta))


def _instance(frame: int, person: dict[str, Any]) -> Detection:
    points = joined(person["keypoints"], person.get("keypoint_scores"))
    return Detection(frame, points, person_number(person.get("track_id")))


def write_people(
    path: Path,
    people: Iterable[Iterable[np.ndarray]],
    size_px: tuple[int, int],
    fps: float,
    layout: str,
    found_by: str = KIND,
) -> None:
    """Write all people of a video, each (j, 3), frame by frame from 0, as mmpose's demo does; ``meta_info`` says what
    :func:`moga_st.data.pose.keypoints.read_keypoints` needs to know besides, and the program that found them."""
    frames = [
        {
            "frame_id": i,
            "instances": [
                {"keypoints": p[:, :2].round(2).tolist(), "keypoint_scores": p[:, 2].round(4).tolist()} for p in found
            ],
        }
        for i, found in enumerate(people)
    ]
    meta = {"size_px": list(size_px), "fps": fps, "layout": layout, "found_by": found_by}
    content = {"meta_info": meta, "instance_info": frames}
    write_json(path, content, indent=None)
