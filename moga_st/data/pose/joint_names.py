"""Which of a motion file's points are the 17 joints, by their names.

Motion files name their joints after bones that start there (Mixamo's ``LeftForeArm`` starts at the elbow) or after
joints (``LElbow``).  :func:`match` knows the usual ones; a mapping of one's own is a JSON file with, for each of
the 17 joints, a name or a list of names whose mean it is::

    {"Hip": ["LASI", "RASI", "LPSI", "RPSI"], "RKnee": "RKJC", ...}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moga_st import storage
from moga_st.data.pose.skeleton import JOINTS
from moga_st.errors import BadInput

# what stands for each joint, the best first; {} is the side: "left" or "l", before or after the name
_RULES = {
    "Hip": ("hips", "hip", "pelvis", "root", "midhip"),
    "{}Hip": ("{}upleg", "{}thigh", "{}upperleg", "{}hip", "{}hipjoint"),
    "{}Knee": ("{}knee", "{}leg", "{}shin", "{}calf", "{}lowerleg", "{}lowleg"),
    "{}Foot": ("{}ankle", "{}foot"),
    "Thorax": ("thorax", "neck", "neck01", "neck1", "lowerneck", "upperchest"),
    "Neck/Nose": ("neck/nose", "head", "neck02", "upperneck"),
    "Head": ("headtop", "headtopend", "headend", "topofhead", "headnub", "endofhead"),
    "{}Shoulder": ("{}arm", "{}upperarm", "{}uparm", "{}shldr", "{}shoulder"),
    "{}Elbow": ("{}elbow", "{}forearm", "{}lowerarm", "{}lowarm"),
    "{}Wrist": ("{}wrist", "{}hand"),
}
_OWN = {
    "hip": "Hip",
    "spine": "Spine",
    "thorax": "Thorax",
    "neck": "Neck/Nose",
    "neck/nose": "Neck/Nose",
    "head": "Head",
}


def read_mapping(path: Path) -> dict[str, tuple[str, ...]]:
    """A mapping of one's own, as the module says.

    Raises:
        BadInput: no JSON object, or a joint that is missing, unknown, or mapped to no name.
    """
    content = storage.read_json(path)
    if not isinstance(content, dict):
        raise BadInput(f"{path}: expected an object with the 17 joints {', '.join(JOINTS)}")
    wrong = sorted(set(JOINTS) ^ set(content))
    if wrong:
        raise BadInput(f"{path}: these joints are missing or unknown: {', '.join(wrong)}; expected {', '.join(JOINTS)}")
    mapping = {}
    for joint in JOINTS:
        names = content[joint]
        names = [names] if isinstance(names, str) else names
        if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
            raise BadInput(f"{path}: {joint} must be a name or a list of names, got {content[joint]!r}")
        mapping[joint] = tuple(names)
    return mapping


def match(source: str, names: Sequence[str], chain: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """The mapping of the usual names.

    Args:
        names: of the file's points.
        chain: those between hip and neck, from below, of which the middle one is the Spine.

    Raises:
        BadInput: a joint that no name tells; it lists what the file has.
    """
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(_plain(name), name)
    mapping: dict[str, tuple[str, ...]] = {}
    if {"hip", "rhip", "thorax", "head"} <= set(plain):  # our own, where Neck and Head are the joints' names
        mapping = {joint: (plain[key],) for key, joint in _OWN.items() if key in plain}
    for rule, candidates in _RULES.items():
        sides = (("L", "left"), ("R", "right")) if "{}" in rule else (("", ""),)
        for letter, side in sides:
            joint = rule.format(letter)
            options = [c.format(s) for c in candidates for s in ((side, letter.lower()) if side else ("",))]
            found = next((plain[o] for o in options if o in plain), None)
            if found is not None:
                mapping.setdefault(joint, (found,))
    if "Spine" not in mapping and chain:
        mapping["Spine"] = (chain[len(chain) // 2],)
    missing = [joint for joint in JOINTS if joint not in mapping]
    if missing:
        raise BadInput(
            f"{source}: no name tells {', '.join(missing)}; say which points they are in a mapping file; it has "
            f"{', '.join(list(names)[:60])}"
        )
    return mapping


def joints_of(source: str, points: dict[str, np.ndarray], mapping: dict[str, tuple[str, ...]]) -> np.ndarray:
    """The 17 joints (t, 17, 3) from points (t, 3) by name.

    Raises:
        BadInput: the mapping names a point that is not there.
    """
    missing = sorted({name for names in mapping.values() for name in names} - set(points))
    if missing:
        raise BadInput(f"{source}: has no point {', '.join(missing)}; it has {', '.join(list(points)[:60])}")
    return np.stack([np.mean([points[name] for name in mapping[joint]], axis=0) for joint in JOINTS], axis=1)


def _plain(name: str) -> str:
    """Lower case, without prefixes such as mixamorig:, separators and the side moved to the front."""
    name = name.split(":")[-1]
    name = re.sub(r"^(mixamorig\d*|bip\d+|b|def|org)[_ .-]+", "", name, flags=re.IGNORECASE)
    side = re.fullmatch(r"(.+?)[_ .-](l|r|left|right)", name, flags=re.IGNORECASE)
    if side:
        name = side[2] + side[1]
    return re.sub(r"[_ .-]", "", name).lower()
