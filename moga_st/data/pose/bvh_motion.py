"""Read any BVH file: its joints, and where its forward kinematics puts them.

Shape legend: ``t`` frames, ``j`` points: joints in the order of the file, and its End Sites.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from moga_st import storage
from moga_st.errors import BadInput


@dataclass(eq=False)
class BvhMotion:
    """What a BVH file says, in its own axes (y is up by custom) and unit."""

    names: list[str] = field(default_factory=list)  # an End Site is called after its joint, with "End" behind
    parents: list[int] = field(default_factory=list)  # -1 for the root
    offsets: list[tuple[float, ...]] = field(default_factory=list)
    channels: list[tuple[int, str]] = field(default_factory=list)  # joint, and say "Zrotation", in file order
    values: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))  # (t, channels)
    fps: float = 0.0

    def points(self) -> dict[str, np.ndarray]:
        """Where the joints are: (t, 3) each, by name."""
        t = len(self.values)
        moved = np.broadcast_to(np.array(self.offsets), (t, len(self.offsets), 3)).copy()
        turns = np.broadcast_to(np.eye(3), (t, len(self.offsets), 3, 3)).copy()
        for (joint, name), column in zip(self.channels, self.values.T, strict=True):
            if name.endswith("position"):
                moved[:, joint, "XYZ".index(name[0])] = column
            else:
                turns[:, joint] = (
                    turns[:, joint] @ Rotation.from_euler(name[0].lower(), column[:, None], degrees=True).as_matrix()
                )
        points = moved.copy()
        for joint, parent in enumerate(self.parents):  # parents come first
            if parent >= 0:
                points[:, joint] = points[:, parent] + np.einsum("tij,tj->ti", turns[:, parent], moved[:, joint])
                turns[:, joint] = turns[:, parent] @ turns[:, joint]
        return {name: points[:, j] for j, name in enumerate(self.names)}

    def between(self, low: str, high: str) -> list[str]:
        """The joints on the way up from one to another."""
        way, joint = [], self.parents[self.names.index(high)]
        while joint >= 0 and self.names[joint] != low:
            way.append(self.names[joint])
            joint = self.parents[joint]
        return way[::-1] if joint >= 0 else []


def read_bvh(path: Path) -> BvhMotion:
    """Read a BVH file.

    Raises:
        BadInput: unreadable, no BVH, cut off, or numbers that are none.
    """
    words = storage.read_text(path).split()
    if words[:1] != ["HIERARCHY"]:
        raise BadInput(f"{path}: does not begin with HIERARCHY; it is no BVH file")
    motion = BvhMotion()
    try:
        at = _read_tree(words, motion)
        if words[at + 1] != "Frames:" or words[at + 3 : at + 5] != ["Frame", "Time:"]:
            raise ValueError("no frame count and frame time after MOTION")
        frames, interval = int(words[at + 2]), float(words[at + 5])
        values = np.array(words[at + 6 :], np.float64)
    except (ValueError, IndexError) as error:
        raise BadInput(f"{path}: not a whole BVH file ({error})") from error
    if not interval > 0 or not np.isfinite(values).all():
        raise BadInput(f"{path}: its frame time is {interval} or its values are not finite")
    if frames < 1 or len(values) != frames * len(motion.channels):
        raise BadInput(
            f"{path}: {len(values):,} values, but {frames:,} frames of {len(motion.channels)} channels; it is cut off"
        )
    motion.values, motion.fps = values.reshape(frames, -1), 1.0 / interval
    return motion


def _read_tree(words: list[str], motion: BvhMotion) -> int:
    """Fill in the joints; where the word MOTION stands."""
    stack: list[int] = []
    at, opening = 1, -1
    while words[at] != "MOTION":
        word = words[at]
        if word in ("ROOT", "JOINT", "End"):
            parent = stack[-1] if stack else -1
            if (word == "ROOT") != (not motion.names) or (word != "ROOT" and parent < 0):
                raise ValueError("it must have one ROOT, and all else inside")
            opening = len(motion.names)
            name = motion.names[parent] + "End" if word == "End" else words[at + 1]
            if name in motion.names:
                raise ValueError(f"two joints are called {name}")
            motion.names.append(name)
            motion.parents.append(parent)
            motion.offsets.append((0.0, 0.0, 0.0))
            at += 2
        elif word in "{}":
            if word == "{":
                stack.append(opening)
            else:
                stack.pop()
            at += 1
        elif word == "OFFSET":
            motion.offsets[stack[-1]] = tuple(float(w) for w in words[at + 1 : at + 4])
            at += 4
        elif word == "CHANNELS":
            count = int(words[at + 1])
            names = words[at + 2 : at + 2 + count]
            if any(n[:1] not in ("X", "Y", "Z") or n[1:] not in ("position", "rotation") for n in names):
                raise ValueError(f"unknown channels {' '.join(names)}")
            motion.channels += [(stack[-1], name) for name in names]
            at += 2 + count
        else:
            raise ValueError(f"unknown word {word!r}")
    return at
