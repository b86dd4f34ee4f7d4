"""A reader of BVH files by their definition, to see what :mod:`moga_st.data.pose.bvh` wrote."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moga_st.data.pose.rig import FROM_Z_UP


class Motion(NamedTuple):
    """What a BVH file says: joints in file order (End Sites left out), their parents and where they went."""

    names: tuple[str, ...]
    parents: tuple[int, ...]  # -1 for the root
    points_m: np.ndarray  # (t, j, 3) float64, z up
    fps: float


def read_bvh(path: Path) -> Motion:
    """A BVH file in metres, y up, any channel order: its joints and where its forward kinematics puts them.

    Raises:
        ValueError, IndexError: not a whole BVH file.
    """
    return _parse(path.read_text().split())


def _parse(words: list[str]) -> Motion:
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[int, str]] = []  # joint and, for instance, "Zrotation", in file order
    stack: list[int] = []  # open braces: a joint, or -1 for an End Site
    if words[0] != "HIERARCHY":
        raise ValueError("it does not begin with HIERARCHY")
    i, opening = 1, -1
    while words[i] != "MOTION":
        word = words[i]
        if word in ("ROOT", "JOINT"):
            if (word == "ROOT") != (not names):
                raise ValueError("it must have one ROOT")
            opening = len(names)
            names.append(words[i + 1])
            parents.append(stack[-1] if stack else -1)
            offsets.append([0.0, 0.0, 0.0])
            i += 2
        elif word == "End":
            opening = -1
            i += 2
        elif word == "{":
            stack.append(opening)
            i += 1
        elif word == "}":
            stack.pop()
            i += 1
        elif word == "OFFSET":
            if stack[-1] >= 0:
                offsets[stack[-1]] = [float(w) for w in words[i + 1 : i + 4]]
            i += 4
        elif word == "CHANNELS":
            count = int(words[i + 1])
            channels += [(stack[-1], c) for c in words[i + 2 : i + 2 + count]]
            i += 2 + count
        else:
            raise ValueError(f"unknown word {word!r}")
    frames, frame_time = int(words[i + 2]), float(words[i + 5])
    values = np.array(words[i + 6 :], dtype=np.float64)
    if values.size != frames * len(channels) or not frames or not frame_time > 0:
        raise ValueError(f"{values.size} values for {frames} frames of {len(channels)} channels")
    points = _forward(np.array(offsets), parents, channels, values.reshape(frames, -1))
    return Motion(tuple(names), tuple(parents), points @ FROM_Z_UP, 1.0 / frame_time)


def _forward(
    offsets: np.ndarray, parents: list[int], channels: list[tuple[int, str]], values: np.ndarray
) -> np.ndarray:
    """Positions (t, j, 3) in the file's axes."""
    t = len(values)
    moved = np.broadcast_to(offsets, (t, *offsets.shape)).copy()
    turns = np.broadcast_to(np.eye(3), (t, len(offsets), 3, 3)).copy()
    for (joint, name), column in zip(channels, values.T, strict=True):
        axis, kind = "XYZ".index(name[0]), name[1:]
        if kind == "position":
            moved[:, joint, axis] = column
        elif kind == "rotation":
            turns[:, joint] = turns[:, joint] @ _about(axis, column)
        else:
            raise ValueError(f"unknown channel {name!r}")
    points, world = moved.copy(), turns.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            points[:, joint] = points[:, parent] + np.einsum("tij,tj->ti", world[:, parent], moved[:, joint])
            world[:, joint] = world[:, parent] @ turns[:, joint]
    return points


def _about(axis: int, degrees: np.ndarray) -> np.ndarray:
    """Turns (t, 3, 3) about x, y or z."""
    angle = degrees * (math.pi / 180)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    turn = np.zeros((len(angle), 3, 3))
    turn[:, axis, axis] = 1.0
    turn[:, a, a] = turn[:, b, b] = np.cos(angle)
    turn[:, b, a] = np.sin(angle)
    turn[:, a, b] = -turn[:, b, a]
    return turn
