"""Human3.6M-17 poses as BVH (Biovision Hierarchy), the motion file that Blender, Maya and Unreal read.

BVH describes a skeleton of constant bones turned by joint angles, so a sequence of free points is fitted:

- A bone has its median length over the clip.
- A joint with one child takes the smallest turn that points its bone the right way; the twist about the
  bone, which points cannot tell, stays that of the parent.
- Hip and Thorax have three children each and are turned as rigid bodies: least squares over the directions
  to the children (Kabsch 1976), whose shape is their mean over the clip (generalised Procrustes, Gower 1975).

So every bone keeps its direction except those out of Hip and Thorax, which do as far as they are rigid.
The file is in metres, y up, subject facing +z in the rest pose (a T-pose); Blender's import defaults
(scale 1, forward -Z, up Y) then give world coordinates, z up.  Angles are in degrees in the order
Z, X, Y: the turn of a joint is Rz Rx Ry applied to column vectors.

Shape legend: ``t`` frames, ``j`` joints, ``k`` children of one joint.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moga_st.data.pose.skeleton import JOINTS, PARENTS
from moga_st.errors import BadInput
from moga_st.storage import write_atomically

FROM_Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # world (x, y, z) -> BVH (x, z, -y)
LEFT, RIGHT, UP, DOWN = (1.0, 0, 0), (-1.0, 0, 0), (0, 1.0, 0), (0, -1.0, 0)
REST = np.array([UP, RIGHT, DOWN, DOWN, LEFT, DOWN, DOWN, UP, UP, UP, UP, LEFT, LEFT, LEFT, RIGHT, RIGHT, RIGHT])
BVH_NAMES = tuple(name.split("/")[0] for name in JOINTS)  # "Neck/Nose" is no good name for a bone


def write_bvh(path: Path, poses_m: np.ndarray, fps: float) -> None:
    """Write poses (t, 17, 3) in metres, z up, as a BVH file, atomically.

    Raises:
        BadInput: another shape, no frame, a value that is not finite, or a frame rate that is not positive.
    """
    if poses_m.ndim != 3 or poses_m.shape[1:] != (17, 3) or not len(poses_m):
        raise BadInput(f"BVH needs poses of shape (t, 17, 3) with t > 0, got {poses_m.shape}")
    if not np.isfinite(poses_m).all():
        frame = int((~np.isfinite(poses_m)).any((1, 2)).argmax())
        raise BadInput(f"BVH: frame {frame} of the poses holds NaN or infinite values; mend or drop it")
    if not fps > 0:
        raise BadInput(f"BVH: the frame rate must be positive, got {fps}")
    points = poses_m.astype(np.float64) @ FROM_Z_UP.T
    offsets, turns = _fit(points)
    angles = np.unwrap(_to_zxy(turns), axis=0, period=360.0)  # no jumps from 180 to -180 between frames
    motion = np.concatenate([points[:, 0], angles.reshape(len(points), -1)], axis=1)

    lines = ["HIERARCHY"]
    order: list[int] = []
    _describe(0, offsets, "", lines, order)
    columns = [0, 1, 2, *(3 + 3 * j + axis for j in order for axis in range(3))]
    lines += ["MOTION", f"Frames: {len(points)}", f"Frame Time: {1.0 / fps:.10g}"]
    lines += [" ".join(f"{v:.6f}" for v in frame) for frame in motion[:, columns]]
    text = "\n".join(lines) + "\n"
    write_atomically(path, lambda part: part.write_text(text))


def _children(joint: int) -> list[int]:
    return [j for j, parent in enumerate(PARENTS) if parent == joint]


def _fit(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (17, 3) from the parents in the rest pose, and each joint's turn against its parent (t, 17, 3, 3)."""
    t = len(points)
    offsets = np.zeros((17, 3))
    world = np.broadcast_to(np.eye(3), (t, 17, 3, 3)).copy()
    turns = world.copy()
    for joint, parent in enumerate(PARENTS):  # parents come first
        before = world[:, parent] if joint else np.broadcast_to(np.eye(3), (t, 3, 3))
        children = _children(joint)
        if not children:
            world[:, joint] = before
            continue
        bones = points[:, children] - points[:, [joint]]  # (t, k, 3)
        length = np.linalg.norm(bones, axis=-1, keepdims=True)
        rest = REST[children]
        # seen from the parent; a bone of no length keeps its direction at rest
        towards = np.where(length > 1e-9, bones / np.maximum(length, 1e-9) @ before, rest)
        if len(children) == 1:
            turns[:, joint] = _swing(rest[0], towards[:, 0])
        else:
            rest = _mean_shape(rest, towards)
            turns[:, joint] = _kabsch(rest, towards)
        offsets[children] = rest * np.median(length, axis=0)
        world[:, joint] = before @ turns[:, joint]
    return offsets, turns


def _kabsch(shape: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """The turns (t, 3, 3) that bring ``shape`` (k, 3) nearest to ``towards`` (t, k, 3), never a reflection."""
    u, _, vt = np.linalg.svd(np.swapaxes(towards, -1, -2) @ shape)
    u[..., -1] *= np.sign(np.linalg.det(u @ vt))[..., None]
    return u @ vt


def _mean_shape(rest: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """The mean of the directions (t, k, 3) over t after turning each frame on it, itself turned on ``rest``."""
    shape = rest
    for _ in range(10):
        shape = np.einsum("tkd,tde->ke", towards, _kabsch(shape, towards))
        shape = shape / np.maximum(np.linalg.norm(shape, axis=-1, keepdims=True), 1e-9)
    return shape @ _kabsch(shape, rest[None])[0].T


def _swing(start: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """The smallest turns (t, 3, 3) that bring the unit vector ``start`` (3,) to ``towards`` (t, 3): Rodrigues."""
    axis, cosine = np.cross(start, towards), towards @ start
    x, y, z = axis.T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
    turn = np.eye(3) + cross + cross @ cross / np.maximum(1.0 + cosine, 1e-12)[:, None, None]
    across = np.eye(3)[np.abs(start).argmin()]  # any axis across it will do for half a turn
    return np.where((cosine < -1 + 1e-9)[:, None, None], 2 * np.outer(across, across) - np.eye(3), turn)


def _to_zxy(turns: np.ndarray) -> np.ndarray:
    """Angles z, x, y in degrees (..., 3) with turn = Rz Rx Ry; where x is 90 degrees, y is 0."""
    sine = np.clip(turns[..., 2, 1], -1.0, 1.0)
    locked = np.abs(sine) > 1 - 1e-12
    z = np.where(
        locked, np.arctan2(turns[..., 1, 0], turns[..., 0, 0]), np.arctan2(-turns[..., 0, 1], turns[..., 1, 1])
    )
    y = np.where(locked, 0.0, np.arctan2(-turns[..., 2, 0], turns[..., 2, 2]))
    return np.degrees(np.stack([z, np.arcsin(sine), y], axis=-1))


def _describe(joint: int, offsets: np.ndarray, indent: str, lines: list[str], order: list[int]) -> None:
    """Append the HIERARCHY lines of ``joint`` and all below it, and the order in which the file names them."""
    order.append(joint)
    position = "" if joint else "Xposition Yposition Zposition "
    x, y, z = offsets[joint]
    lines += [
        f"{indent}{'JOINT' if joint else 'ROOT'} {BVH_NAMES[joint]}",
        f"{indent}{{",
        f"{indent}  OFFSET {x:.6f} {y:.6f} {z:.6f}",
        f"{indent}  CHANNELS {6 - 3 * bool(joint)} {position}Zrotation Xrotation Yrotation",
    ]
    for child in _children(joint):
        _describe(child, offsets, indent + "  ", lines, order)
    if not _children(joint):
        lines += [f"{indent}  End Site", f"{indent}  {{", f"{indent}    OFFSET 0 0 0", f"{indent}  }}"]
    lines.append(f"{indent}}}")
