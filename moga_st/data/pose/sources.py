"""Pose data sets for training: prepared files (or generated motion) split into training, validation and test.

Shape legend: see :mod:`moga_st.data.pose.prepared_poses`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from moga_st.config import Config
from moga_st.data.pose import human36m, mocap
from moga_st.data.pose.generated import ACTIONS, generate_clip
from moga_st.data.pose.generated_motions import FPS
from moga_st.data.pose.prepared_poses import MotionClip, View, read_clips, read_contents
from moga_st.data.pose.virtual_cameras import VIRTUAL_CAMERAS, virtual_cameras
from moga_st.errors import BadInput
from moga_st.storage import file_digest

NOTHING_TO_TRAIN_ON = "all subjects of this file are to be tested on, and none is left to train on"


class PoseSets(NamedTuple):
    """Clips of disjoint people, and where they come from."""

    train: list[MotionClip]
    val: list[MotionClip]
    test: list[MotionClip]
    source: str  # for people
    fingerprint: str  # for machines: a resumed run must find the same clips


@dataclass(frozen=True)
class PoseDataConfig(Config, rooms=("moga_st.data.pose",)):
    """A source of motion clips; ``load(root)`` gives them."""

    def load(self, root: Path) -> PoseSets:
        raise NotImplementedError


@dataclass(frozen=True)
class CMUConfig(PoseDataConfig, kind="cmu", was=("moga_st.data.poses:CMUConfig",)):
    """CMU motion capture, prepared by `moga-st data prepare cmu-mocap SRC`."""

    file: str = "cmu-mocap.h5"
    """The prepared file in the data root."""

    def load(self, root: Path) -> PoseSets:
        def split(subject: str) -> str:
            return {**dict.fromkeys(mocap.VAL_SUBJECTS, "val"), **dict.fromkeys(mocap.TEST_SUBJECTS, "test")}.get(
                subject, "train"
            )

        return _load(root / self.file, split, "cmu-mocap")


@dataclass(frozen=True)
class Human36MConfig(PoseDataConfig, kind="human36m", was=("moga_st.data.poses:Human36MConfig",)):
    """Human3.6M, prepared by `moga-st data prepare human3.6m SRC`; validates on a test subject, as the field does."""

    file: str = "human3.6m.h5"
    """The prepared file in the data root."""

    def load(self, root: Path) -> PoseSets:
        # S11 is the smaller of the two test subjects: choosing by it alone at least leaves S9 unseen
        sets = _load(root / self.file, lambda s: "test" if s in human36m.TEST_SUBJECTS else "train", "human3.6m")
        return sets._replace(val=[clip for clip in sets.test if clip.subject == "S11"])


@dataclass(frozen=True)
class OwnMotionConfig(PoseDataConfig, kind="own_motion"):
    """One's own motion, prepared by `moga-st data prepare motion SRC`, or MPI-INF-3DHP; the split is yours to give."""

    file: str = "motion.h5"
    """The prepared file in the data root."""
    test: tuple[str, ...] = ()
    """Subjects to test on, never trained on; all, where none is to be trained on."""
    val: tuple[str, ...] = ()
    """Subjects to choose by; the test subjects, if left out."""
    only_test: bool = False
    """Leave the others out, and train on nobody."""

    def load(self, root: Path) -> PoseSets:
        path = root / self.file
        known = {entry.subject for entry in read_contents(path).clips}
        unknown = sorted({*self.test, *self.val} - known)
        if unknown or not self.test:
            problem = f"has no subject {', '.join(unknown)}" if unknown else "no test subjects are given"
            raise BadInput(f"{path}: {problem}; its subjects are {', '.join(sorted(known))}")
        names = {**dict.fromkeys(self.val, "val"), **dict.fromkeys(self.test, "test")}
        needed = ("train", "test") if known - set(names) and not self.only_test else ("test",)
        sets = _load(path, lambda s: names.get(s, "train"), "motion", needed)
        sets = sets._replace(train=[]) if self.only_test else sets
        return sets if sets.val else sets._replace(val=sets.test)


@dataclass(frozen=True)
class GeneratedConfig(PoseDataConfig, kind="generated_poses", was=("moga_st.data.poses:GeneratedConfig",)):
    """Generated motion of an articulated body: a demo's data, no person's."""

    frames: int = 150
    """Frames of a clip, at 50 fps."""

    def load(self, root: Path) -> PoseSets:  # noqa: ARG002 (needs no files)
        sets = {
            name: [self._clip(subject, action) for subject in subjects for action in ACTIONS]
            for name, subjects in (("train", range(6)), ("val", (6,)), ("test", (7, 8)))
        }
        digest = hashlib.sha256()
        for clip in sets["train"]:
            assert clip.world_m is not None
            digest.update(clip.world_m.round(4).tobytes())
        source = f"generated motion of an articulated body ({len(ACTIONS)} actions, 9 bodies), no person's"
        return PoseSets(sets["train"], sets["val"], sets["test"], source, digest.hexdigest()[:16])

    def _clip(self, subject: int, action: str) -> MotionClip:
        name = f"G{subject}/{action}"
        world_m = generate_clip(subject, action, 0, self.frames)
        cameras = virtual_cameras(name, torch.from_numpy(world_m))
        views = {f"virtual{i}": View(cameras[i]) for i in range(VIRTUAL_CAMERAS)}
        return MotionClip(name, f"G{subject}", action, FPS, world_m, views)


def _load(
    path: Path, split: Callable[[str], str], command: str, needed: tuple[str, ...] = ("train", "test")
) -> PoseSets:
    if not path.is_file():
        raise BadInput(
            f"{path}: no such file; make it with `moga-st data prepare {command} SRC` (datasets/{command}/README.md "
            "says what SRC may be), or give the data root that it is in (MOGA_ST_DATA)"
        )
    contents = read_contents(path)
    sets: dict[str, list[MotionClip]] = {"train": [], "val": [], "test": []}
    for clip in read_clips(path):
        sets[split(clip.subject)].append(clip)
    for name in needed:
        if not sets[name]:
            raise BadInput(
                f"{path}: none of its subjects is in the {name} set; prepare the whole data set, or split this file by "
                "subjects of your own, with own_motion as the source of data"
            )
    digest = file_digest(path)[:16]
    source = f"{contents.source} ({path.name}, {', '.join(f'{len(v)} {k}' for k, v in sets.items())} clips)"
    return PoseSets(sets["train"], sets["val"], sets["test"], source, digest)
