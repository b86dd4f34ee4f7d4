"""Human3.6M-17 poses as BVH (Biovision Hierarchy), the motion file that Blender, Maya and Unreal read.

BVH describes a skeleton of constant bones turned by joint angles: :mod:`moga_st.data.pose.rig`.  The file is in metres,
y up, subject facing +z in the rest pose (a T-pose); Blender's import defaults (scale 1, forward -Z, up Y) then give
world coordinates, z up.  Angles are in degrees in the order Z, X, Y: the turn of a joint is Rz Rx Ry applied to column
vectors.  End Sites have the lengths of an average body's hands, feet and crown (:meth:`Rig.ends_m`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moga_st.data.pose.rig import NAMES, Rig, fit_rig
from moga_st.data.pose.skeleton import PARENTS
from moga_st.errors import BadInput
from moga_st.storage import write_text


def write_bvh(path: Path, poses_m: np.ndarray, fps: float) -> None:
    """Write poses (t, 17, 3) in metres, z up, as a BVH file, atomically.

    Raises:
        BadInput: another shape, no frame, a value that is not finite, or a frame rate that is not positive.
    """
    if not fps > 0:
        raise BadInput(f"BVH: the frame rate must be positive, got {fps}")
    rig = fit_rig(poses_m)
    angles = np.unwrap(_to_zxy(rig.turns), axis=0, period=360.0)  # no jumps from 180 to -180 between frames
    motion = np.concatenate([rig.root_m, angles.reshape(len(angles), -1)], axis=1)

    lines = ["HIERARCHY"]
    order: list[int] = []
    _describe(0, rig, "", lines, order)
    columns = [0, 1, 2, *(3 + 3 * j + axis for j in order for axis in range(3))]
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1.0 / fps:.10g}"]
    lines += [" ".join(f"{v:.6f}" for v in frame) for frame in motion[:, columns]]
    write_text(path, "\n".join(lines) + "\n")


def _to_zxy(turns: np.ndarray) -> np.ndarray:
    """Angles z, x, y in degrees (..., 3) with turn = Rz Rx Ry; where x is 90 degrees, y is 0."""
    sine = np.clip(turns[..., 2, 1], -1.0, 1.0)
    locked = np.abs(sine) > 1 - 1e-12
    z = np.where(
        locked, np.arctan2(turns[..., 1, 0], turns[..., 0, 0]), np.arctan2(-turns[..., 0, 1], turns[..., 1, 1])
    )
    y = np.where(locked, 0.0, np.arctan2(-turns[..., 2, 0], turns[..., 2, 2]))
    return np.degrees(np.stack([z, np.arcsin(sine), y], axis=-1))


def _describe(joint: int, rig: Rig, indent: str, lines: list[str], order: list[int]) -> None:
    """Append the HIERARCHY lines of ``joint`` and all below it, and the order in which the file names them."""
    order.append(joint)
    position = "" if joint else "Xposition Yposition Zposition "
    lines += [
        f"{indent}{'JOINT' if joint else 'ROOT'} {NAMES[joint]}",
        f"{indent}{{",
        f"{indent}  OFFSET {_numbers(rig.offsets_m[joint])}",
        f"{indent}  CHANNELS {6 - 3 * bool(joint)} {position}Zrotation Xrotation Yrotation",
    ]
    for child in (j for j, parent in enumerate(PARENTS) if parent == joint):
        _describe(child, rig, indent + "  ", lines, order)
    end = rig.ends_m().get(joint)
    if end is not None:
        lines += [f"{indent}  End Site", f"{indent}  {{", f"{indent}    OFFSET {_numbers(end)}", f"{indent}  }}"]
    lines.append(f"{indent}}}")


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{v:.6f}" for v in values)
