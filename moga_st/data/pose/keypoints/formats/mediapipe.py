"""MediaPipe Pose: 33 landmarks {x, y, z, visibility} a frame, in fractions of the image.

It has no file of its own; programs around it dump one.  Read are a list of frames, each {landmarks} or
{pose_landmarks} with an optional frame number, or the list of landmarks itself; several people of a frame as a list of
such lists (the Tasks API).
"""

from __future__ import annotations

from typing import Any

from moga_st.data.pose.keypoints.content import Content, Detection, frame_number, joined
from moga_st.data.pose.skeleton import MEDIAPIPE33

KIND = "MediaPipe"
KEYS = ("landmarks", "pose_landmarks")
FRAME_KEYS = ("frame", "frame_id", "frame_number", "frame_index", "index")


def read(content: Any, number: int | None) -> Content | None:
    """The file's content, or None if it is another format's; ``number`` is the frame that the whole file stands for."""
    if isinstance(content, dict) and isinstance(content.get("frames"), list):
        content = content["frames"]
    if isinstance(content, dict) and any(k in content for k in KEYS):
        content = [content]
    if not isinstance(content, list) or not content:
        return None
    if _is_landmark(content[0]):
        content = [{"landmarks": content}]
    frames = [next((f[k] for k in KEYS if k in f), None) if isinstance(f, dict) else f for f in content]
    first = next((f for f in frames if f), None)
    while isinstance(first, list) and first and isinstance(first[0], list):
        first = first[0]
    if not (isinstance(first, list) and _is_landmark(first[0])):
        return None
    found, listed = [], set()
    for i, (entry, landmarks) in enumerate(zip(content, frames, strict=True)):
        said = next((entry[k] for k in FRAME_KEYS if k in entry), None) if isinstance(entry, dict) else None
        frame = frame_number(said) if said is not None else i if number is None else number
        listed.add(frame)
        people = landmarks or []
        for person in [people] if people and _is_landmark(people[0]) else people:
            sure = [p.get("visibility", p.get("presence", 1.0)) for p in person]
            found.append(Detection(frame, joined([(p["x"], p["y"]) for p in person], sure), None))
    return Content(KIND, found, listed, usual=(MEDIAPIPE33,))


def _is_landmark(value: Any) -> bool:
    return isinstance(value, dict) and "x" in value and "y" in value and "keypoints" not in value
