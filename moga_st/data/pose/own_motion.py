"""One's own motion capture as prepared poses: BVH, C3D and npz files, whatever wrote them.

Every file is a clip; its subject is the folder it lies in below the source, or what its name begins with up to the
first "_".  Frames are resampled to 50 fps between the two nearest, joint by joint on a line.  Four virtual cameras are
drawn from each clip's name, as for CMU's.

A wrong unit, axis or joint makes a body that cannot be, which is refused here, before anything is trained on it.

Shape legend: ``t`` frames, 17 joints of Human3.6M.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moga_st import storage
from moga_st.data.pose.bvh_motion import read_bvh
from moga_st.data.pose.export.motion import read_npz
from moga_st.data.pose.joint_names import joints_of, match, read_mapping
from moga_st.data.pose.prepared_poses import MotionClip, View, write_poses
from moga_st.data.pose.skeleton import JOINTS
from moga_st.data.pose.virtual_cameras import VIRTUAL_CAMERAS, virtual_cameras
from moga_st.errors import BadInput

FPS = 50.0
SLOWEST_FPS = 1.0  # of a recording; the time between two frames is filled at FPS, however long it is
UNITS_M = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "in": 0.0254}
STATURE_M = (1.0, 2.2)
SUFFIXES = (".bvh", ".c3d", ".npz")
_LEGS = (("LHip", "LKnee"), ("LKnee", "LFoot"), ("RHip", "RKnee"), ("RKnee", "RFoot"))
_TRUNK = (("Hip", "Spine"), ("Spine", "Thorax"), ("Thorax", "Neck/Nose"), ("Neck/Nose", "Head"))
_ANKLE_HEIGHT_M = 0.08


def prepare(src: Path, out: Path, unit: str | None = None, up: str | None = None, joints: Path | None = None) -> None:
    """Write the prepared file from a .bvh, .c3d or .npz file, or a folder of them, also in folders.

    Args:
        unit: of BVH and C3D: m, dm, cm, mm or in; left out, a C3D file's own, and metres for BVH, which has none.
        up: "y" or "z", the axis that points up; left out, y for BVH and z for C3D, as is the custom.
        joints: a file of their names (`moga_st/data/pose/joint_names.py` says how); left out, the usual ones.

    Raises:
        BadInput: nothing to read at ``src``, a file that is not as expected, or a body that cannot be; named.
    """
    if unit is not None and unit not in UNITS_M:
        raise BadInput(f"unknown unit {unit!r}; expected {', '.join(UNITS_M)}")
    if up not in (None, "y", "z"):
        raise BadInput(f"the axis that points up must be y or z, got {up!r}")
    files = [src] if src.is_file() else sorted(p for p in src.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files or files[0].suffix.lower() not in SUFFIXES:
        raise BadInput(f"{src}: expected a {', '.join(SUFFIXES)} file or a folder with some")
    mapping = None if joints is None else read_mapping(joints)
    write_poses(out, _clips(src, files, unit, up, mapping), f"own motion from {src.name}", "the user's own")


def check_person(name: str, world_m: np.ndarray) -> None:
    """Refuse poses (t, 17, 3) that no person can have: of another unit, axis, joint order or side.

    The stature, the way up from the ankle to the top of the head plus 8 cm, is 1 to 2.2 m, by the bones' medians; the
    trunk points up more than down; the knees, on average, bend to the front.

    Raises:
        BadInput: it is not so; the message names the clip, what is off, and what would mend it.
    """
    at = {joint: world_m[:, i].astype(np.float64) for i, joint in enumerate(JOINTS)}

    def length(a: str, b: str) -> float:
        return float(np.median(np.linalg.norm(at[a] - at[b], axis=-1)))

    bones = sum(length(a, b) for a, b in _LEGS) / 2 + sum(length(a, b) for a, b in _TRUNK)
    low, high = STATURE_M
    if not low <= bones + _ANKLE_HEIGHT_M <= high:
        fits = [u for u, metres in UNITS_M.items() if low <= bones * metres + _ANKLE_HEIGHT_M <= high and u != "m"]
        remedy = f"the numbers look like {fits[0]}; say so" if fits else "check the unit and the joints"
        raise BadInput(
            f"clip {name}: a stature of {bones + _ANKLE_HEIGHT_M:.4g} m, expected {low:g} to {high:g}; {remedy}"
        )
    trunk = at["Thorax"] - at["Hip"]
    upright = float((trunk / np.maximum(np.linalg.norm(trunk, axis=-1, keepdims=True), 1e-9)).mean(0)[2])
    if upright < 0:
        raise BadInput(f"clip {name}: upside down on average; say which axis points up")
    front = np.cross(at["LHip"] - at["RHip"], trunk)
    front /= np.maximum(np.linalg.norm(front, axis=-1, keepdims=True), 1e-9)
    leg = length("LHip", "LKnee") + length("LKnee", "LFoot")
    bend = sum(at[f"{s}Knee"] - (at[f"{s}Hip"] + at[f"{s}Foot"]) / 2 for s in "LR") / (2 * leg)
    if (front * bend).sum(-1).mean() < -0.03:  # straight legs are 0, and a little less in some people
        raise BadInput(f"clip {name}: its knees bend backwards; left and right are swapped, or it is a mirror image")


def _clips(
    src: Path, files: list[Path], unit: str | None, up: str | None, mapping: dict[str, tuple[str, ...]] | None
) -> Iterator[MotionClip]:
    for path in files:
        kind = path.suffix.lower()
        below = path.relative_to(src) if src.is_dir() else Path(path.name)
        subject = below.parts[0] if len(below.parts) > 1 else path.stem.split("_")[0]
        name = f"{subject}/{path.stem}"
        if kind == ".npz":
            motion = read_npz(path)
            world, fps = motion.poses_m.astype(np.float64), motion.fps
        else:
            world, fps, unit_m = _from_bvh(path, mapping) if kind == ".bvh" else _from_c3d(path, mapping)
            world = world * (unit_m if unit is None else UNITS_M[unit])
            if (up or {".bvh": "y", ".c3d": "z"}[kind]) == "y":
                world = np.stack([world[..., 0], -world[..., 2], world[..., 1]], axis=-1)
        if fps < SLOWEST_FPS:
            raise BadInput(f"{path}: has {fps:g} frames a second, expected at least {SLOWEST_FPS:g} of recorded motion")
        world = _resample(world, fps)
        try:
            check_person(name, world)
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from error
        world_m = world.astype(np.float32)
        cameras = virtual_cameras(name, torch.from_numpy(world_m))
        views = {f"virtual{i}": View(cameras[i]) for i in range(VIRTUAL_CAMERAS)}
        yield MotionClip(name, subject, "unknown", FPS, world_m, views)


def _resample(world: np.ndarray, fps: float) -> np.ndarray:
    """Joints (t, 17, 3) at :data:`FPS`; none is extrapolated."""
    steps = np.arange(int((len(world) - 1) * FPS / fps + 1e-9) + 1) * fps / FPS
    before = np.minimum(steps.astype(int), max(len(world) - 2, 0))
    part = (steps - before)[:, None, None]
    return world[before] * (1 - part) + world[np.minimum(before + 1, len(world) - 1)] * part


def _from_bvh(path: Path, mapping: dict[str, tuple[str, ...]] | None) -> tuple[np.ndarray, float, float]:
    motion = read_bvh(path)
    points = motion.points()
    if mapping is None:
        # heads without a joint at the top end in an End Site
        named = [*motion.names]
        chain: list[str] = []
        neck = next((n for n in named if n.lower().endswith("neck") or n.lower().endswith("neck1")), None)
        if neck is not None:
            chain = motion.between(named[0], neck)
        mapping = match(str(path), named, chain)
    return joints_of(str(path), points, mapping), motion.fps, 1.0


def _from_c3d(path: Path, mapping: dict[str, tuple[str, ...]] | None) -> tuple[np.ndarray, float, float]:
    try:
        ezc3d: Any = importlib.import_module("ezc3d")
    except ImportError as error:
        raise BadInput(f"{path}: C3D needs ezc3d ({error}); install it with `pip install 'moga-st[motion]'`") from error
    try:
        with storage.open_file(path):
            pass  # an ordinary one
        if not storage.survives(lambda: ezc3d.c3d(str(path))):
            raise BadInput(f"{path}: damaged: C3D's library crashes or hangs over it; export it again")
        file = ezc3d.c3d(str(path))
        about = file["parameters"]["POINT"]
        labels, fps = [str(name) for name in about["LABELS"]["value"]], float(about["RATE"]["value"][0])
        said = [str(u) for u in about.get("UNITS", {}).get("value", [])]
        points = np.moveaxis(np.asarray(file["data"]["points"], np.float64)[:3], 0, -1).swapaxes(0, 1)  # (t, j, 3)
    except BadInput:
        raise
    except Exception as error:  # whatever the library raises for damage
        raise BadInput(f"{path}: cannot be read as C3D ({type(error).__name__}: {error})".split("\n")[0]) from error
    if not fps > 0 or not len(points):
        raise BadInput(f"{path}: holds no points, or a frame rate of {fps}")
    by_name = {name: points[:, j] for j, name in enumerate(labels[: points.shape[1]])}
    world = joints_of(str(path), by_name, match(str(path), labels) if mapping is None else mapping)
    bad = ~np.isfinite(world).all((1, 2))
    if bad.any():
        raise BadInput(
            f"{path}: markers are missing, first in frame {int(bad.argmax())}; fill the gaps, or cut the file"
        )
    unit = said[0].strip().lower() if said else "mm"  # the format's custom
    if unit not in UNITS_M:
        raise BadInput(f"{path}: its unit is {unit!r}, expected {', '.join(UNITS_M)}; give it")
    return world, fps, UNITS_M[unit]
