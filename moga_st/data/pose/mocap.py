"""CMU motion capture (mocap.cs.cmu.edu) as prepared poses: from the site's ASF/AMC files or a ready npz.

Own forward kinematics.  A bone's file entry gives its direction and length in the world at rest, and ``axis``,
the Euler angles of the frame C in which its motion angles are meant; with M the rotation of those angles, its
rotation in the world is ``R = R_parent C M C^-1`` and its end lies at ``end_parent + R direction length``
(Acclaim's definition).  Angles are degrees; the first axis named turns first; limits are ignored, as capture
exceeds them.  Lengths are in units of 1/``length`` inch.  The files are y up; here z is: (x, y, z) -> (x, -z, y).

Frames are resampled to 50 fps between the two nearest: the root's position on a line, every joint's rotation
on the shortest arc.  Bone lengths so stay constant, which a line between joint positions would not keep.
Nothing is filtered: people move well below 25 Hz.

Shape legend: ``t`` frames, ``k`` bones of a file, 17 joints of Human3.6M.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from moga_st.data.pose.prepared_poses import MotionClip, View, write_poses
from moga_st.data.pose.skeleton import BONES, JOINTS
from moga_st.data.pose.virtual_cameras import VIRTUAL_CAMERAS, virtual_cameras
from moga_st.errors import BadInput
from moga_st.storage import open_npz, read_text

FPS = 50.0
TEST_SUBJECTS = ("S05", "S07", "S14", "S16", "S35")
"""Held out for the reported numbers: dance, walking at several speeds, gestures, turns, walks and runs."""
VAL_SUBJECTS = ("S08", "S10", "S32")
"""Held out of training to choose by: walking styles, ball games, arm signals.  Every kind of action of theirs
also has other subjects in training, so that choosing measures new people and nothing is lost from training."""
SOURCE = "CMU Graphics Lab Motion Capture Database, mocap.cs.cmu.edu"
LICENCE = (
    "free for all uses; may be copied, modified and redistributed, but not resold directly, even in converted form. "
    "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from "
    "NSF EIA-0196217."
)

H36M_FROM_CMU = {
    "Hip": ("lhipjoint", "rhipjoint"),
    **{"RHip": "rhipjoint", "RKnee": "rfemur", "RFoot": "rtibia", "LHip": "lhipjoint", "LKnee": "lfemur"},
    **{"LFoot": "ltibia", "Spine": "lowerback", "Thorax": "thorax", "Neck/Nose": "upperneck", "Head": "head"},
    **{"LShoulder": "lclavicle", "LElbow": "lhumerus", "LWrist": "lwrist"},
    **{"RShoulder": "rclavicle", "RElbow": "rhumerus", "RWrist": "rwrist"},
}
"""Each joint is where the named bone ends; the hip is midway between two.  The forearm is two bones on one
line (radius and wrist), so the wrist is the end of the second."""

# bones of the 17 joints that are one rigid piece of the CMU body; the others span a joint
_RIGID = tuple(
    (i, j)
    for i, j in BONES
    if not {JOINTS[i], JOINTS[j]} & {"Spine"} and (JOINTS[i], JOINTS[j]) != ("Thorax", "Neck/Nose")
)
_ANKLE_HEIGHT_M = 0.08
_INCH_M = 0.0254


@dataclass(frozen=True, eq=False)
class Bone:
    """One bone of an ASF file; the root is a bone of no length."""

    name: str
    parent: int  # index of the bone it grows from; -1: none
    offset_m: np.ndarray  # (3,) from its start to its end at rest, y up
    frame: np.ndarray  # (3, 3) C: from the bone's axes to the world's
    dof: tuple[str, ...]  # what the numbers of its AMC line mean, in order: rx ry rz (and tx ty tz for the root)


@dataclass(frozen=True, eq=False)
class Body:
    """The skeleton of an ASF file: bones, parents before children, the root first."""

    bones: tuple[Bone, ...]
    unit_m: float  # metres of a length unit


def prepare(src: Path, out: Path, src_fps: float = 120.0) -> None:
    """Write the prepared file from a folder of .asf and .amc files or from the 17-joint npz.

    A folder may have the site's layout (``subjects/35/35.asf``, ``subjects/35/35_01.amc``) or hold all files
    flat; the clip of ``35_01.amc`` is ``S35/01``.  If it has a file ``index.txt`` with lines
    ``35_01 walk``, actions come from there, else they are "unknown".  Four virtual cameras are drawn from
    each clip's name.

    Args:
        src_fps: frame rate of the .amc files: 120 for most of the site, 60 for a few.

    Raises:
        BadInput: nothing to read at ``src``, or a file that is not as expected; the message names it.
    """
    if src.is_dir():
        clips = _from_folder(src, src_fps)
    elif src.suffix == ".npz" and src.is_file():
        clips = _from_npz(src)
    else:
        raise BadInput(f"{src}: expected a folder with the site's .asf and .amc files, or the 17-joint .npz")
    write_poses(out, (_checked_with_cameras(clip) for clip in clips), SOURCE, LICENCE)


def read_asf(path: Path) -> Body:
    """Parse an ASF skeleton.

    Raises:
        BadInput: unreadable, not ASF, not in degrees, or a hierarchy that is no tree.
    """
    sections = _sections(path)
    for name in ("units", "root", "bonedata", "hierarchy"):
        if name not in sections:
            raise BadInput(f"{path}: has no :{name} section; it is no ASF skeleton")
    try:
        units = {line[0]: line[1] for line in sections["units"]}
        if not units.get("angle", "deg").startswith("deg"):
            raise BadInput(f"{path}: angles in {units['angle']!r}, expected degrees")
        unit_m = _INCH_M / float(units["length"])
        if not 0 < unit_m < math.inf:
            raise ValueError(f"a length unit of {units['length']}")
        root = {line[0].lower(): line[1:] for line in sections["root"]}
        children = {line[0]: line[1:] for line in sections["hierarchy"] if line[0] not in ("begin", "end")}
        entries = {"root": _root(root, unit_m), **{b.name: b for b in _bones(sections["bonedata"], unit_m)}}
        bones: list[Bone] = []

        def grow(name: str, parent: int) -> None:
            b = entries.pop(name)  # a second visit, as in a cycle, fails here
            bones.append(Bone(b.name, parent, b.offset_m, b.frame, b.dof))
            index = len(bones) - 1
            for child in children.get(name, ()):
                grow(child, index)

        grow("root", -1)
    except (KeyError, IndexError, ValueError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path}: not a readable ASF skeleton ({type(error).__name__}: {error})") from error
    return Body(tuple(bones), unit_m)


def read_amc(path: Path, body: Body) -> dict[str, np.ndarray]:
    """Parse an AMC motion of ``body``: for each moving bone its numbers (t, dofs), degrees and file units.

    Raises:
        BadInput: unreadable, not fully specified in degrees, cut off, or of another skeleton.
    """
    lines = [line for line in read_text(path, "replace").splitlines() if line.strip() and line.lstrip()[0] not in "#:"]
    moving = {b.name: len(b.dof) for b in body.bones if b.dof}
    per_frame = 1 + len(moving)
    count = len(lines) // per_frame
    if count == 0 or not lines[0].strip().isdigit():
        raise BadInput(f"{path}: holds no whole frame of {len(moving)} bones; it is no AMC motion of this skeleton")
    if len(lines) % per_frame:
        raise BadInput(f"{path}: ends within frame {count + 1}, or its frames are not of {len(moving)} bones each")
    _check_numbers(path, lines[::per_frame])
    first = [line.split()[0] for line in lines[1:per_frame]]
    if sorted(first) != sorted(moving):
        odd = sorted(set(first) ^ set(moving))
        raise BadInput(
            f"{path}: its bones are not those of the skeleton ({', '.join(odd[:5])}); is it another subject's?"
        )
    motion = {}
    for i, name in enumerate(first, start=1):
        rows = [line.split() for line in lines[i::per_frame]]
        bad = next((f for f, row in enumerate(rows) if row[0] != name or len(row) != 1 + moving[name]), None)
        try:
            if bad is not None:
                raise ValueError(f"frame {bad + 1} has {' '.join(rows[bad])!r}")
            motion[name] = np.array([row[1:] for row in rows], np.float64)
            if not np.isfinite(motion[name]).all():
                raise ValueError("NaN or infinite values are among them")
        except ValueError as error:
            raise BadInput(f"{path}: expected {moving[name]} numbers for bone {name}: {error}") from error
    return motion


def _check_numbers(path: Path, lines: list[str]) -> None:
    """Frames are numbered one after the other: a gap would be a jump in time that nobody sees."""
    first = int(lines[0]) if len(lines[0].strip()) < 10 else 0
    for i, line in enumerate(lines):
        if line.strip() != str(first + i):
            raise BadInput(
                f"{path}: expected frame {first + i}, found {line.strip()!r:.40}: frames are missing, repeated or "
                "damaged; fetch the file again, or cut it into pieces without a gap"
            )


def joints_m(body: Body, motion: dict[str, np.ndarray], src_fps: float, fps: float) -> dict[str, np.ndarray]:
    """Forward kinematics, resampled: where each bone ends, (t, 3) metres, z up, by the bone's name.

    Frame ``k`` of the result is the moment ``k / fps`` of the capture; none is extrapolated.

    Raises:
        BadInput: a frame rate that is not positive.
    """
    if not (src_fps > 0 and fps > 0):
        raise BadInput(f"frame rates must be positive, got {src_fps:g} and {fps:g}")
    root = body.bones[0]
    frames = len(motion["root"])
    steps = np.arange(int((frames - 1) * fps / src_fps + 1e-9) + 1) * src_fps / fps
    before = np.minimum(steps.astype(int), max(frames - 2, 0))
    after, part = np.minimum(before + 1, frames - 1), steps - before
    translation = [root.dof.index(c) if c in root.dof else None for c in ("tx", "ty", "tz")]
    track = np.stack([np.zeros(frames) if c is None else motion["root"][:, c] for c in translation], -1) * body.unit_m
    start = (track[before] * (1 - part)[:, None] + track[after] * part[:, None]) + root.offset_m
    rotation: list[np.ndarray] = []
    ends: list[np.ndarray] = []
    for b in body.bones:
        turned = b.frame @ euler(*_angles(b, motion.get(b.name))) @ b.frame.T
        turned = np.broadcast_to(turned, (frames, 3, 3))
        turned = between(turned[before], turned[after], part)
        rotation.append(rotation[b.parent] @ turned if b.parent >= 0 else turned)
        ends.append(ends[b.parent] + rotation[-1] @ b.offset_m if b.parent >= 0 else start)
    return {b.name: np.stack([e[:, 0], -e[:, 2], e[:, 1]], -1) for b, e in zip(body.bones, ends, strict=True)}


def euler(angles_deg: np.ndarray, axes: str) -> np.ndarray:
    """Rotations about the named fixed axes, the first named first: (..., n), "xyz"-like of n -> (..., 3, 3)."""
    total = np.broadcast_to(np.eye(3), (*angles_deg.shape[:-1], 3, 3))
    for i, axis in enumerate(axes):
        c, s = np.cos(np.radians(angles_deg[..., i])), np.sin(np.radians(angles_deg[..., i]))
        turn = np.zeros((*c.shape, 3, 3))
        a = "xyz".index(axis)
        b, d = (a + 1) % 3, (a + 2) % 3
        turn[..., a, a] = 1
        turn[..., b, b], turn[..., b, d], turn[..., d, b], turn[..., d, d] = c, -s, s, c
        total = turn @ total
    return total


def between(a: np.ndarray, b: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The rotation ``part`` of the way from ``a`` to ``b`` on the shortest arc: (t, 3, 3) twice, (t,) -> (t, 3, 3).

    Half a turn has two shortest arcs: there ``a`` is kept.
    """
    relative = a.swapaxes(-1, -2) @ b
    skew = (relative - relative.swapaxes(-1, -2)) / 2  # sin(angle) times the cross-product matrix of the axis
    sine = np.sqrt((skew**2).sum((-1, -2)) / 2)
    angle = np.arctan2(sine, (np.trace(relative, axis1=-2, axis2=-1) - 1) / 2) * part
    axis = skew / np.maximum(sine, 1e-12)[:, None, None]
    turn = np.eye(3) + np.sin(angle)[:, None, None] * axis + (1 - np.cos(angle))[:, None, None] * (axis @ axis)
    return a @ turn


def to_h36m17(ends_m: dict[str, np.ndarray]) -> np.ndarray:
    """The 17 joints from bone ends by :data:`H36M_FROM_CMU`: (t, 3) each -> (t, 17, 3).

    Raises:
        BadInput: a bone is missing.
    """
    sources = [(s,) if isinstance(s, str) else s for s in (H36M_FROM_CMU[j] for j in JOINTS)]
    missing = sorted({name for names in sources for name in names} - set(ends_m))
    if missing:
        raise BadInput(f"the skeleton has no bone {', '.join(missing)}; expected CMU's 31 joints")
    return np.stack([np.mean([ends_m[name] for name in names], axis=0) for names in sources], axis=1)


def check_body(name: str, world_m: np.ndarray) -> None:
    """Refuse a clip (t, 17, 3) that cannot be a person: a wrong unit, joint order or side shows here.

    Rigid bones keep their length to 2 mm; the stature, the way up from the ankle to the top of the head plus
    8 cm, is 1.4 to 2.1 m; the knees, on average, bend to the front of a body whose left is where it should be.

    Raises:
        BadInput: it is not so; the message names the clip and what is off.
    """
    length = {(i, j): np.linalg.norm(world_m[:, j] - world_m[:, i], axis=-1) for i, j in BONES}
    for i, j in _RIGID:
        if np.ptp(length[i, j]) > 4e-3:
            raise BadInput(f"clip {name}: {JOINTS[i]}-{JOINTS[j]} changes its length by {np.ptp(length[i, j]):.3f} m")
    mean = {JOINTS[j]: float(x.mean()) for (_, j), x in length.items()}
    stature = sum(mean[j] for j in ("Head", "Neck/Nose", "Thorax", "Spine")) + _ANKLE_HEIGHT_M
    stature += sum(mean[j] for j in ("LKnee", "LFoot", "RKnee", "RFoot")) / 2
    if not 1.4 <= stature <= 2.1:
        raise BadInput(f"clip {name}: a stature of {stature:.2f} m, expected 1.4 to 2.1 m; are the units right?")
    at = {joint: world_m[:, i] for i, joint in enumerate(JOINTS)}
    front = np.cross(at["LHip"] - at["RHip"], at["Thorax"] - at["Hip"])
    front /= np.maximum(np.linalg.norm(front, axis=-1, keepdims=True), 1e-9)
    leg = mean["LKnee"] + mean["LFoot"]
    bend = sum(at[f"{s}Knee"] - (at[f"{s}Hip"] + at[f"{s}Foot"]) / 2 for s in "LR") / (2 * leg)
    if (front * bend).sum(-1).mean() < -0.03:  # straight legs are 0, and a little less in some people
        raise BadInput(f"clip {name}: its knees bend backwards; left and right are swapped, or it is a mirror image")


def _checked_with_cameras(clip: MotionClip) -> MotionClip:
    assert clip.world_m is not None
    check_body(clip.name, clip.world_m)
    cameras = virtual_cameras(clip.name, torch.from_numpy(clip.world_m))
    return dataclasses.replace(clip, views={f"virtual{i}": View(cameras[i]) for i in range(VIRTUAL_CAMERAS)})


def _from_npz(path: Path) -> Iterator[MotionClip]:
    with open_npz(path) as data:
        meta = {key: data.array(f"meta/{key}") for key in ("joint_names", "clips", "subject", "action", "origin_xy_m")}
        unit, fps = (data.array(f"meta/{key}") for key in ("unit_m", "fps"))
        if meta["joint_names"].tolist() != list(JOINTS):
            raise BadInput(f"{path}: its joints are not the 17 of Human3.6M in their order")
        names = meta["clips"]
        given = meta["origin_xy_m"].dtype.kind == unit.dtype.kind == fps.dtype.kind == "f" and names.dtype.kind == "U"
        sizes = {meta[key].shape[:1] for key in ("clips", "subject", "action", "origin_xy_m")}
        if not given or unit.shape or fps.shape or len(sizes) != 1 or meta["origin_xy_m"].shape != (names.size, 3):
            raise BadInput(f"{path}: not the 17-joint CMU npz: its meta/ arrays do not fit each other")
        columns = (meta[key].astype(str).ravel().tolist() for key in ("clips", "subject", "action"))
        for name, subject, action, origin in zip(*columns, meta["origin_xy_m"], strict=True):
            values = data.array(name)
            if values.dtype.kind not in "if" or values.shape[1:] != (17, 3):
                raise BadInput(f"{path}: clip {name} is {values.dtype} {values.shape}, expected numbers (t, 17, 3)")
            yield MotionClip(name, subject, action, float(fps), (values * float(unit) + origin).astype(np.float32))


def _from_folder(folder: Path, src_fps: float) -> Iterator[MotionClip]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".asf", ".amc"))
    skeletons = {p.stem.lower(): p for p in files if p.suffix.lower() == ".asf"}
    motions = [p for p in files if p.suffix.lower() == ".amc"]
    if not motions:
        raise BadInput(
            f"{folder}: holds no .amc file, not in its folders either; name the folder with the site's files"
        )
    actions = _actions(folder / "index.txt")
    body: tuple[str, Body] | None = None
    for path in motions:
        subject, _, trial = path.stem.partition("_")
        if not trial or subject.lower() not in skeletons:
            raise BadInput(f"{path}: its skeleton {subject}.asf is not in {folder}; add it")
        if body is None or body[0] != subject:
            body = (subject, read_asf(skeletons[subject.lower()]))
        try:
            ends = joints_m(body[1], read_amc(path, body[1]), src_fps, FPS)
            world_m = to_h36m17(ends).astype(np.float32)
            yield MotionClip(f"S{subject}/{trial}", f"S{subject}", actions.get(path.stem, "unknown"), FPS, world_m)
        except BadInput as error:
            raise error if str(path) in str(error) else BadInput(f"{path}: {error}") from error


def _actions(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    found = re.findall(r"^\s*(\w+_\w+)\s+(\S.*?)\s*$", read_text(path, "replace"), re.MULTILINE)
    return dict(found)


def _sections(path: Path) -> dict[str, list[list[str]]]:
    """The words of every line by the ``:section`` it stands in; comments and empty lines left out."""
    sections: dict[str, list[list[str]]] = {}
    current: list[list[str]] = []
    for line in read_text(path, "replace").splitlines():
        words = line.split("#")[0].split()
        if words and words[0].startswith(":"):
            current = sections.setdefault(words[0][1:].lower(), [])
        elif words:
            current.append(words)
    return sections


def _root(lines: dict[str, list[str]], unit_m: float) -> Bone:
    position = np.array(lines.get("position", ["0", "0", "0"]), np.float64) * unit_m
    frame = euler(np.array(lines.get("orientation", ["0", "0", "0"]), np.float64), lines["axis"][0].lower())
    return Bone("root", -1, position, frame, _dofs([name.lower() for name in lines["order"]], "root"))


def _bones(lines: list[list[str]], unit_m: float) -> Iterator[Bone]:
    fields: dict[str, list[str]] = {}
    for words in lines:
        if words[0] == "begin":
            fields = {}
        elif words[0] == "end":
            name = fields["name"][0]
            offset = np.array(fields["direction"], np.float64)
            offset *= float(fields["length"][0]) * unit_m / np.linalg.norm(offset)
            if not np.isfinite(offset).all():
                raise ValueError(f"bone {name} has no direction or no finite length")
            frame = euler(np.array(fields["axis"][:3], np.float64), fields["axis"][3].lower())
            yield Bone(name, -1, offset, frame, _dofs(fields.get("dof", []), name))
        else:
            fields[words[0].lower()] = words[1:]


def _dofs(names: list[str], bone: str) -> tuple[str, ...]:
    known = {"rx", "ry", "rz"} | ({"tx", "ty", "tz"} if bone == "root" else set())
    dof = tuple(name.lower() for name in names)
    if not set(dof) <= known:
        raise ValueError(f"bone {bone} has degrees of freedom {' '.join(dof)}, expected {' '.join(sorted(known))}")
    return dof


def _angles(bone: Bone, motion: np.ndarray | None) -> tuple[np.ndarray, str]:
    """The rotation angles (t, n) among a bone's numbers and their axes; no angles for a bone that does not move."""
    turning = [i for i, name in enumerate(bone.dof) if name[0] == "r"]
    if motion is None:
        return np.zeros((1, 0)), ""
    return motion[:, turning], "".join(bone.dof[i][1] for i in turning)
