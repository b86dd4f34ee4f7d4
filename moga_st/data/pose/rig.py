"""Human3.6M-17 poses as a rig: constant bones turned by joints, which is what animation files hold.

A lifted pose is 17 free points, so a rig is fitted:

- A bone has its median length over the clip.
- A joint with one child takes the smallest turn that points its bone the right way; the twist about the bone, which
  points cannot tell, stays that of the parent.
- Hip and Thorax have three children each and are turned as rigid bodies: least squares over the directions to the
  children (Kabsch 1976), whose shape is their mean over the clip (generalised Procrustes, Gower 1975).

So every bone keeps its direction except those out of Hip and Thorax, which do as far as they are rigid.  The rest pose
is a T-pose that faces +z, y up, as animation files want it.

Shape legend: ``t`` frames, 17 joints, ``k`` children of one joint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moga_st.data.pose.skeleton import JOINTS, PARENTS
from moga_st.errors import BadInput

FROM_Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""World (x, y, z), z up -> the rig's axes (x, z, -y), y up."""

LEFT, RIGHT, UP, DOWN = (1.0, 0, 0), (-1.0, 0, 0), (0, 1.0, 0), (0, -1.0, 0)
REST = np.array([UP, RIGHT, DOWN, DOWN, LEFT, DOWN, DOWN, UP, UP, UP, UP, LEFT, LEFT, LEFT, RIGHT, RIGHT, RIGHT])
NAMES = tuple(name.split("/")[0] for name in JOINTS)
"""Of the joints as bones; "Neck/Nose" is no good name for one."""

# Lengths of what lies beyond the outermost joints, as parts of the stature (Drillis and Contini 1966, in Winter,
# "Biomechanics and Motor Control of Human Movement", table 4.1), and which way it points at rest.
_HAND, _FOOT, _ANKLE, _CROWN = 0.108, 0.112, 0.039, 0.03  # the foot from the ankle forwards
_ENDS = {
    "LWrist": (_HAND, 0, 0),
    "RWrist": (-_HAND, 0, 0),
    "LFoot": (0, -_ANKLE, _FOOT),
    "RFoot": (0, -_ANKLE, _FOOT),
    "Head": (0, _CROWN, 0),
}


@dataclass(frozen=True, eq=False)
class Rig:
    """A skeleton of constant bones and how it moves, y up, metres."""

    offsets_m: np.ndarray  # (17, 3) of each joint from its parent in the rest pose; of the hip 0
    turns: np.ndarray  # (t, 17, 3, 3) rotation of each joint against its parent, applied to column vectors
    root_m: np.ndarray  # (t, 3) the hip

    def points_m(self) -> np.ndarray:
        """Forward kinematics: the joints (t, 17, 3), z up again."""
        return self._world()[0] @ FROM_Z_UP

    def world_turns(self) -> np.ndarray:
        """Of each joint against the world: (t, 17, 3, 3)."""
        return self._world()[1]

    def ends_m(self) -> dict[int, np.ndarray]:
        """The ends of hands, feet and head from the outermost joints at rest, by the joint's index: (3,) each.

        Points do not tell them, so they have the proportions of an average body of this stature.
        """
        length = np.linalg.norm(self.offsets_m, axis=-1)
        by = dict(zip(NAMES, length.tolist(), strict=True))
        legs = sum(by[side + part] for side in "LR" for part in ("Knee", "Foot")) / 2
        stature = (legs + by["Spine"] + by["Thorax"] + by["Neck"] + by["Head"]) / (1 - _ANKLE - _CROWN)
        return {NAMES.index(name): np.array(part) * stature for name, part in _ENDS.items()}

    def _world(self) -> tuple[np.ndarray, np.ndarray]:
        points = np.empty((*self.turns.shape[:2], 3))
        world = np.empty_like(self.turns)
        points[:, 0], world[:, 0] = self.root_m, self.turns[:, 0]
        for joint, parent in enumerate(PARENTS[1:], 1):  # parents come first
            points[:, joint] = points[:, parent] + world[:, parent] @ self.offsets_m[joint]
            world[:, joint] = world[:, parent] @ self.turns[:, joint]
        return points, world


def fit_rig(poses_m: np.ndarray) -> Rig:
    """The rig nearest to poses (t, 17, 3) in metres, z up, as the module says; exact where the poses are one.

    Raises:
        BadInput: another shape, no frame, or a value that is not finite.
    """
    if poses_m.ndim != 3 or poses_m.shape[1:] != (17, 3) or not len(poses_m):
        raise BadInput(f"a rig needs poses of shape (t, 17, 3) with t > 0, got {poses_m.shape}")
    if not np.isfinite(poses_m).all():
        frame = int((~np.isfinite(poses_m)).any((1, 2)).argmax())
        raise BadInput(f"frame {frame} of the poses holds NaN or infinite values; mend or drop it")
    points = poses_m.astype(np.float64) @ FROM_Z_UP.T
    t = len(points)
    offsets = np.zeros((17, 3))
    world = np.broadcast_to(np.eye(3), (t, 17, 3, 3)).copy()
    turns = world.copy()
    for joint, parent in enumerate(PARENTS):  # parents come first
        before = world[:, parent] if joint else np.broadcast_to(np.eye(3), (t, 3, 3))
        children = [j for j, p in enumerate(PARENTS) if p == joint]
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
    return Rig(offsets, turns, points[:, 0])


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
