"""Which joint is which: by the names in the file, the layout it names, or the body that so many joints make."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from moga_st.data.pose.keypoints.content import Content
from moga_st.data.pose.skeleton import (
    BODY_25,
    COCO17,
    COCO_WHOLEBODY,
    H36M17,
    HALPE26,
    JOINTS,
    MEDIAPIPE33,
    OPENPOSE18,
    POSETRACK17,
    Layout,
)
from moga_st.errors import BadInput, nearest

LAYOUT_BY_NAME = {
    "h36m": H36M17,
    "coco": COCO17,
    "body_25": BODY_25,
    "halpe": HALPE26,
    "mediapipe": MEDIAPIPE33,
    "openpose_18": OPENPOSE18,
    "posetrack": POSETRACK17,
    "coco_wholebody": COCO_WHOLEBODY,
}
#: the layouts of a number of joints, most usual first; whole-body layouts begin with the body, the rest is left out
OF_COUNT: dict[int, tuple[Layout, ...]] = {
    17: (COCO17, H36M17, POSETRACK17),
    18: (OPENPOSE18,),
    23: (COCO_WHOLEBODY,),
    25: (BODY_25,),
    26: (HALPE26,),
    33: (MEDIAPIPE33,),
    133: (COCO_WHOLEBODY, COCO17),
    136: (HALPE26,),
}

#: A person who stands and looks at the camera, x right and y down in units of the torso (Hip to Thorax).
#: A joint that never appears is put where this body has it, seen from its nearest neighbour.
STANDING = np.array(
    [
        *[(0, 0), (-0.27, 0), (-0.27, 0.9), (-0.27, 1.75), (0.27, 0), (0.27, 0.9), (0.27, 1.75)],
        *[(0, -0.5), (0, -1), (0, -1.25), (0, -1.45)],
        *[(0.3, -1), (0.4, -0.45), (0.4, 0.05), (-0.3, -1), (-0.4, -0.45), (-0.4, 0.05)],
    ]
)
_FACE = {
    "Nose": (0, -1.25),
    "LEye": (0.06, -1.31),
    "REye": (-0.06, -1.31),
    "LEar": (0.13, -1.27),
    "REar": (-0.13, -1.27),
}
_BODY = dict(zip(JOINTS, STANDING.tolist(), strict=True)) | _FACE | {"HeadBottom": (0, -1.1)}

LIKE = 0.7  # correlation of distances from which joints make a body
LEAD = 0.04  # by which the best layout must beat the second
NEAR = 0.45  # torsos: how close joints must be to tell layouts apart that agree but for a few of them
BETTER = 0.25  # by which these distances must fit better, as a logarithm
ENOUGH = 6  # of Human3.6M's joints that a file's names must give


def choose_layout(path: Path, content: Content, points: np.ndarray, asked: str | None) -> tuple[Layout, str]:
    """The layout of a file's points (n, j, 3), NaN where unseen, and what decided, for people.

    ``asked`` decides; then all the names of the joints in the file; then the layout it names; then the number of
    joints.  Where several layouts have that many, names of some joints rule out those that disagree, then the one
    whose body the points make wins, then the format's own.

    Raises:
        BadInput: unknown, not of this number of joints, or undecided; the message lists the candidates.
    """
    joints = points.shape[1]
    if asked is not None:
        return _named(path, asked, joints), "as told"
    if content.names and set(content.names) == set(range(joints)):
        return layout_of_names(path, [content.names[i] for i in range(joints)]), "by the joints' names in the file"
    if content.layout is not None:
        return _named(path, content.layout, joints), "named in the file"
    if joints not in OF_COUNT:
        known = ", ".join(f"{n} ({' or '.join(layout.name for layout in of)})" for n, of in OF_COUNT.items())
        raise BadInput(f"{path}: {joints} joints are no layout known here; expected {known}, or names of the joints")
    fitting = [layout for layout in OF_COUNT[joints] if _agrees(layout, content.names)]
    usual = [layout for layout in content.usual if layout in fitting]
    if len(fitting) == 1 or joints > len(COCO_WHOLEBODY.joints):
        return (usual or fitting)[0], ""
    best = _likeliest(points, fitting)
    if best is not None and best in usual:
        return best, ""
    if best is not None:
        though = f", though {content.kind} usually means {usual[0].name}" if usual else ""
        return best, f"by the body they make{though}"
    if usual:
        return usual[0], ""
    flags = " or ".join(name for name, layout in LAYOUT_BY_NAME.items() if layout in fitting)
    raise BadInput(
        f"{path}: {joints} joints may be {' or '.join(layout.name for layout in fitting)}; say which with "
        f"`layout`: {flags}"
    )


def _named(path: Path, name: str, joints: int) -> Layout:
    known = {_plain(k): v for k, v in LAYOUT_BY_NAME.items()} | {_plain(v.name): v for v in LAYOUT_BY_NAME.values()}
    layout = known.get(_plain(name))
    if layout is None:
        raise BadInput(
            f"{path}: unknown layout {name!r}{nearest(name, LAYOUT_BY_NAME)}; expected {', '.join(LAYOUT_BY_NAME)}"
        )
    if joints != len(layout.joints) and layout not in OF_COUNT.get(joints, ()):
        raise BadInput(f"{path}: has {joints} joints, {layout.name} has {len(layout.joints)}; say another `layout`")
    return layout


def _plain(name: str) -> str:
    return re.sub(r"\W|_", "", name.lower())


def _likeliest(points: np.ndarray, layouts: Sequence[Layout]) -> Layout | None:
    """The layout whose body the points (n, j, 3) make, if one stands out."""
    likeness = {layout.name: body_likeness(points, layout) for layout in layouts}
    best, second = sorted(layouts, key=lambda layout: -likeness[layout.name])[:2]
    if likeness[best.name] < LIKE:
        return None
    if likeness[best.name] - likeness[second.name] >= LEAD:
        return best
    misfits = [_misfit(points, layout, other) for layout, other in ((best, second), (second, best))]
    if abs(misfits[0] - misfits[1]) < BETTER:
        return None
    return best if misfits[0] < misfits[1] else second


def _misfit(points: np.ndarray, layout: Layout, other: Layout) -> float:
    """How far the distances of joints that lie close together are off those of a standing body in ``layout``, as the
    mean of absolute logarithms, over the pairs in which ``other`` has another joint."""
    mean, standing, _ = _distances(points, layout)
    _, theirs, _ = _distances(points, other)
    torso = standing[layout.joints.index("LHip"), layout.joints.index("LShoulder")]
    near = np.triu((np.minimum(standing, theirs) < NEAR) & (standing != theirs) & (mean > 0), 1)
    measured = mean[layout.joints.index("LHip"), layout.joints.index("LShoulder")]
    if not near.any() or not measured > 0:
        return 0.0
    return float(np.abs(np.log(mean[near] / measured) - np.log(standing[near] / torso)).mean())


def body_likeness(points: np.ndarray, layout: Layout) -> float:
    """How far the distances between joints, over many frames (n, j, 3), are those of a standing body whose joints lie
    in the order of ``layout``: a correlation, 1 at most.  0 where too little is seen."""
    mean, standing, pairs = _distances(points, layout)
    if pairs.sum() < 10 or np.ptp(mean[pairs]) == 0:
        return 0.0
    return float(np.corrcoef(mean[pairs], standing[pairs])[0, 1])


def _distances(points: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean distances (j, j) between joints in frames of size 1, those of a standing body in torsos, and which pairs
    count: those known and seen, each once."""
    places = [_BODY.get(_SAME_PLACE.get(name, name), (np.nan, np.nan)) for name in layout.joints]
    chosen = points[np.linspace(0, len(points) - 1, min(len(points), 200)).astype(int)][:, : len(places), :2]
    apart = np.linalg.norm(chosen[:, :, None] - chosen[:, None], axis=-1)
    body = np.array(places, float)
    standing = np.linalg.norm(body[:, None] - body[None], axis=-1)
    seen = np.isfinite(apart) & np.isfinite(standing)
    scale = np.where(seen, apart, 0).sum((1, 2)) / np.maximum(seen.sum((1, 2)), 1)
    good = scale > 0
    apart, seen = apart[good] / scale[good, None, None], seen[good]
    mean = np.where(seen, apart, 0).sum(0) / np.maximum(seen.sum(0), 1)
    return mean, standing, np.triu(seen.any(0), 1)


# --- names ---

#: what joints are called, letters only and without the side, and their name here
_ALIASES = {
    **{"nose": "Nose", "eye": "Eye", "ear": "Ear", "shoulder": "Shoulder", "elbow": "Elbow", "wrist": "Wrist"},
    **{"hip": "Hip", "knee": "Knee", "ankle": "Ankle", "foot": "Ankle", "heel": "Heel", "bigtoe": "BigToe"},
    **{"smalltoe": "SmallToe", "footindex": "FootIndex", "eyeinner": "EyeInner", "eyeouter": "EyeOuter"},
    **{"mouth": "Mouth", "pinky": "Pinky", "index": "Index", "thumb": "Thumb", "toe": "BigToe"},
}
_CENTRAL = {
    **{"nose": "Nose", "head": "Head", "headtop": "Head", "topofhead": "Head", "tophead": "Head"},
    **{"headbottom": "HeadBottom", "upperneck": "HeadBottom", "neck": "Neck", "neckbase": "Neck", "thorax": "Thorax"},
    **{"hip": "Hip", "hips": "Hip", "midhip": "Hip", "root": "Hip", "pelvis": "Hip", "hipcenter": "Hip"},
    **{"hipcentre": "Hip", "spine": "Spine", "belly": "Spine", "torso": "Spine", "necknose": "Neck/Nose"},
}
_SAME_PLACE = {"MidHip": "Hip", "Neck": "Thorax", "RAnkle": "RFoot", "LAnkle": "LFoot"}


def standard_name(name: str) -> str | None:
    """A joint's name in the words of :mod:`moga_st.data.pose.skeleton`: ``left_ankle``, ``LeftAnkle``, ``ankle_l`` and
    ``LAnkle`` are LAnkle, ``pelvis`` is Hip; None if it is none of a body's joints known here."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
    lower = [w.lower() for w in words]
    plain = "".join(lower)
    if plain in _CENTRAL:
        return _CENTRAL[plain]
    for side in ("left", "right", "l", "r"):
        letter = side[0].upper()
        if side in lower:
            rest = "".join(w for w in lower if w != side)
        elif len(side) > 1 and plain.startswith(side):
            rest = plain[len(side) :]
        elif len(side) == 1 and plain.startswith(side) and plain[1:] in _ALIASES:
            rest = plain[1:]
        else:
            continue
        if rest in _ALIASES:
            return f"{letter}{_ALIASES[rest]}"
    return None


def standard_names(names: Sequence[str]) -> list[str]:
    """Of all joints of a file, each once; a name that means nothing here, or again what another means, gets a ``?``.

    ``neck`` is the base of the neck (Thorax), unless the file names a thorax too: then it is Human3.6M's Neck/Nose.
    """
    found = [standard_name(n) for n in names]
    neck = "Neck/Nose" if "Thorax" in found else "Thorax"
    out: list[str] = []
    for raw, name in zip(names, found, strict=True):
        name = neck if name == "Neck" else name
        out.append(name if name is not None and name not in out else f"?{len(out)} {raw}")
    return out


def layout_of_names(path: Path, names: Sequence[str]) -> Layout:
    """The layout known here that has the joints of these names in this order, else one made of the names.

    Raises:
        BadInput: too few of them are a body's joints.
    """
    standard = standard_names(names)
    for layout in sorted(LAYOUT_BY_NAME.values(), key=lambda known: -len(known.joints)):  # the one that says most
        body = standard_names(layout.joints)
        if standard[: len(body)] == body and (len(body) == len(names) or layout in OF_COUNT.get(len(names), ())):
            return layout
    layout = Layout("joints by name", tuple(standard), _rules(standard))
    given = [j for j in JOINTS if set(layout.rule(j)) <= set(standard)]
    if len(given) < ENOUGH:
        raise BadInput(
            f"{path}: of its {len(names)} joints ({', '.join(names[:6])}, ...) the names give {len(given)} of "
            f"Human3.6M's 17 ({', '.join(given) or 'none'}); name joints like left_shoulder, right_knee, nose"
        )
    return layout


def _rules(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """How Human3.6M's joints come of whatever joints there are: for each the first choice that is complete."""
    hips = ("Hip",) if "Hip" in names else ("LHip", "RHip")
    shoulders = ("Thorax",) if "Thorax" in names else ("LShoulder", "RShoulder")
    balanced = (*hips * (2 // len(hips)), *shoulders * (2 // len(shoulders)))
    choices: Mapping[str, tuple[tuple[str, ...], ...]] = {
        "Hip": (hips,),
        "Thorax": (shoulders,),
        "Spine": (("Spine",), balanced),
        "Neck/Nose": (("Neck/Nose",), ("Nose",)),
        "Head": (("Head",), ("LEye", "REye"), ("LEar", "REar")),
        "RFoot": (("RAnkle",),),
        "LFoot": (("LAnkle",),),
    }
    return {j: next((c for c in of if set(c) <= set(names)), of[0]) for j, of in choices.items()}


def _agrees(layout: Layout, names: Mapping[int, str]) -> bool:
    """Whether a layout has the joints that a file names where it names them."""
    ours = standard_names(layout.joints)
    known = {i: standard_name(name) for i, name in names.items() if 0 <= i < len(ours)}
    return all(name is None or name == ours[i] or name == "Neck" for i, name in known.items())
