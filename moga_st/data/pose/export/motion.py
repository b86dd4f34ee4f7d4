"""What is known of one person's motion after lifting, and the npz file that holds all of it.

The file (:func:`write_npz`; numpy's own format, nothing pickled):

=================  ==============  ====================================================================================
name               shape           meaning
=================  ==============  ====================================================================================
poses_m            (t, 17, 3)      joints, float32, in metres; bones are constant, as in the BVH and glTF files
joints             (17,)           their names: Human3.6M's, where the feet are the ankles
parents            (17,)           of each joint; -1 for the hip
frame              (t,)            number of each frame in the source
time_s             (t,)            its time in the source
fps                ()              frames a second here
space              ()              "world": on the floor; "camera": as the camera sees it; "root": relative to the hip
axes               ()              in words: "x right, y away from the camera, z up", and where the origin is
units              ()              "m"
confidence         (t, 17)         of the 2D keypoint that each joint was lifted from; 0: invented, it was not seen
contacts           (t, 2)          whether the foot stands; absent in camera space
contact_joints     (2,)            their names: "LFoot", "RFoot"
keypoints_px       (t, 17, 3)      the 2D input: x, y, confidence
size_px            (2,)            width and height of the image
person             ()              number of the person in the source
note               ()              how all this was found: source, camera, what was assumed
=================  ==============  ====================================================================================

Shape legend: ``t`` frames, 17 joints.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moga_st import storage
from moga_st.data.pose.skeleton import JOINTS, PARENTS
from moga_st.errors import BadInput

AXES = {
    "world": "x right, y away from the camera, z up; origin on the floor below the camera",
    "camera": "x right, y away from the camera, z up as the image has it; origin in the camera",
    "root": "x right, y away from the camera, z up as the image has it; origin in the hip of each frame",
}
CONTACT_JOINTS = ("LFoot", "RFoot")


@dataclass(frozen=True, eq=False)
class Motion:
    """One person's motion, z up, in metres.

    Raises:
        BadInput: shapes that do not go together, values that are not finite, or an unknown space.
    """

    poses_m: np.ndarray  # (t, 17, 3)
    fps: float
    frame: np.ndarray  # (t,) int64
    time_s: np.ndarray  # (t,) float64
    space: str = "world"
    confidence: np.ndarray | None = None  # (t, 17)
    contacts: np.ndarray | None = None  # (t, 2) bool
    keypoints_px: np.ndarray | None = None  # (t, 17, 3)
    size_px: tuple[int, int] | None = None
    person: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        t = len(self.poses_m)
        shapes = {
            **{"poses_m": (t, 17, 3), "frame": (t,), "time_s": (t,)},
            **{"confidence": (t, 17), "contacts": (t, 2), "keypoints_px": (t, 17, 3)},
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and (value.shape != shape or not t or not np.isfinite(value).all()):
                raise BadInput(f"motion: {name} must be finite and of shape {shape}, t > 0; got {value.shape}")
        if self.space not in AXES:
            raise BadInput(f"motion: space must be {' or '.join(AXES)}, got {self.space!r}")
        if not (self.fps > 0 and np.isfinite(self.fps)):
            raise BadInput(f"motion: fps must be positive, got {self.fps}")


def write_npz(path: Path, motion: Motion) -> None:
    """Write the motion as the module says, atomically."""
    fields = {f.name: getattr(motion, f.name) for f in dataclasses.fields(motion)}
    arrays: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    arrays.update(poses_m=motion.poses_m.astype(np.float32), axes=AXES[motion.space], units="m")
    arrays.update(joints=np.array(JOINTS), parents=np.array(PARENTS))
    if motion.contacts is not None:
        arrays["contact_joints"] = np.array(CONTACT_JOINTS)
    storage.save_npz(path, arrays)


def read_npz(path: Path) -> Motion:
    """Read what :func:`write_npz` wrote; of another file, ``poses_m`` and ``fps`` are enough.

    Raises:
        BadInput: no such file, no npz, other joints or units, or arrays that do not go together.
    """
    known = {f.name for f in dataclasses.fields(Motion)} | {"joints", "units"}
    arrays = storage.read_npz(path, known)
    missing = {"poses_m", "fps"} - set(arrays)
    if missing:
        raise BadInput(f"{path}: has no {' and no '.join(sorted(missing))}; give an npz that `lift` wrote")
    if arrays["poses_m"].ndim != 3 or not np.issubdtype(arrays["poses_m"].dtype, np.floating):
        raise BadInput(f"{path}: poses_m must be floats (t, 17, 3), got {arrays['poses_m'].shape}")
    if "joints" in arrays and tuple(np.ravel(arrays["joints"]).tolist()) != JOINTS:
        raise BadInput(f"{path}: its joints are not the 17 of Human3.6M in their order")
    if str(arrays.get("units", "m")) != "m":
        raise BadInput(f"{path}: in {arrays['units']}, expected metres")
    number = np.arange(len(arrays["poses_m"]))
    try:
        fps = float(arrays["fps"])
        size = arrays.get("size_px")
        return Motion(
            arrays["poses_m"],
            fps,
            arrays.get("frame", number),
            arrays.get("time_s", number / fps if fps > 0 else number),
            space=str(arrays.get("space", "world")),
            confidence=arrays.get("confidence"),
            contacts=arrays.get("contacts"),
            keypoints_px=arrays.get("keypoints_px"),
            size_px=None if size is None else (int(size[0]), int(size[1])),
            person=int(arrays.get("person", 0)),
            note=str(arrays.get("note", "")),
        )
    except (BadInput, TypeError, ValueError, IndexError, OverflowError) as error:
        raise BadInput(f"{path}: {error}") from error
