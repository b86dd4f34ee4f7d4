import json
import re
from pathlib import Path
from typing import Any

import ezc3d
import numpy as np
import pytest

from moga_st.data.pose.bvh import write_bvh
from moga_st.data.pose.bvh_motion import read_bvh
from moga_st.data.pose.export.motion import Motion, write_npz
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.joint_names import match, read_mapping
from moga_st.data.pose.own_motion import check_person, prepare
from moga_st.data.pose.prepared_poses import read_clips
from moga_st.data.pose.rig import fit_rig
from moga_st.data.pose.skeleton import JOINTS
from moga_st.data.pose.sources import OwnMotionConfig
from moga_st.errors import BadInput
from tests import bvh_reader

T = 60


@pytest.fixture(scope="module")
def world() -> np.ndarray:
    """(t, 17, 3) with constant bones, z up."""
    return fit_rig(generate_clip(1, "walk", 0, T)).points_m()


def prepared(src: Path, tmp_path: Path, **options) -> list[Any]:
    prepare(src, tmp_path / "out.h5", **options)
    return list(read_clips(tmp_path / "out.h5"))


def write_c3d(path: Path, points: np.ndarray, names: list[str], rate: float, unit: str) -> None:
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [rate]
    file["parameters"]["POINT"]["LABELS"]["value"] = names
    file["parameters"]["POINT"]["UNITS"]["value"] = [unit]
    data = np.ones((4, len(names), len(points)))
    data[:3] = points.transpose(2, 1, 0)
    file["data"]["points"] = data
    file.write(str(path))


MIXAMO = """HIERARCHY
ROOT mixamorig:Hips
{ OFFSET 0 0 0
CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
JOINT mixamorig:Spine { OFFSET 0 12 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:Spine1 { OFFSET 0 12 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:Spine2 { OFFSET 0 13 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:Neck { OFFSET 0 15 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:Head { OFFSET 0 10 3 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:HeadTop_End { OFFSET 0 18 0 CHANNELS 3 Zrotation Xrotation Yrotation End Site { OFFSET 0 1 0 } } } }
JOINT mixamorig:LeftShoulder { OFFSET 5 12 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:LeftArm { OFFSET 12 0 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:LeftForeArm { OFFSET 28 0 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:LeftHand { OFFSET 26 0 0 CHANNELS 3 Zrotation Xrotation Yrotation End Site { OFFSET 8 0 0 } } } } }
JOINT mixamorig:RightShoulder { OFFSET -5 12 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:RightArm { OFFSET -12 0 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:RightForeArm { OFFSET -28 0 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:RightHand { OFFSET -26 0 0 CHANNELS 3 Zrotation Xrotation Yrotation End Site { OFFSET -8 0 0 } } } } }
} } }
JOINT mixamorig:LeftUpLeg { OFFSET 9 -5 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:LeftLeg { OFFSET 0 -42 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:LeftFoot { OFFSET 0 -42 0 CHANNELS 3 Zrotation Xrotation Yrotation End Site { OFFSET 0 -6 10 } } } }
JOINT mixamorig:RightUpLeg { OFFSET -9 -5 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:RightLeg { OFFSET 0 -42 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT mixamorig:RightFoot { OFFSET 0 -42 0 CHANNELS 3 Zrotation Xrotation Yrotation End Site { OFFSET 0 -6 10 } } } }
}
MOTION
Frames: 3
Frame Time: 0.02
"""


def mixamo(path: Path) -> None:
    """A skeleton in centimetres that stands in its rest pose 1 m up."""
    channels = MIXAMO.count("rotation ") + MIXAMO.count("rotation\n") + 3
    row = " ".join(["0", "95", "0", *["0"] * (channels - 3)])
    path.write_text(MIXAMO + "\n".join([row] * 3) + "\n")


def test_a_bvh_of_ours_comes_back(world, tmp_path):
    (tmp_path / "src" / "anna").mkdir(parents=True)
    write_bvh(tmp_path / "src" / "anna" / "walk.bvh", world, 50.0)
    [clip] = prepared(tmp_path / "src", tmp_path)
    assert (clip.name, clip.subject, clip.fps) == ("anna/walk", "anna", 50.0)
    np.testing.assert_allclose(clip.world_m, world, atol=1e-4)
    assert len(clip.views) == 4


def test_a_recording_with_hours_between_its_frames_is_refused(world, tmp_path):
    (tmp_path / "src").mkdir()
    path = tmp_path / "src" / "a.bvh"
    write_bvh(path, world, 50.0)
    path.write_text(re.sub("Frame Time: .*", "Frame Time: 1e9", path.read_text()))  # 50 thousand million frames of it
    with pytest.raises(BadInput, match=r"a\.bvh: has 1e-09 frames a second, expected at least 1 of recorded motion"):
        prepared(tmp_path / "src", tmp_path)


def test_our_reader_and_the_one_of_the_tests_agree(world, tmp_path):
    write_bvh(tmp_path / "a.bvh", world, 30.0)
    points = read_bvh(tmp_path / "a.bvh").points()
    other = bvh_reader.read_bvh(tmp_path / "a.bvh")
    for j, name in enumerate(other.names):
        np.testing.assert_allclose(points[name] @ bvh_reader.FROM_Z_UP, other.points_m[:, j], atol=1e-9)


def test_a_mixamo_skeleton_by_its_names(tmp_path):
    mixamo(tmp_path / "bob_idle.bvh")
    [clip] = prepared(tmp_path / "bob_idle.bvh", tmp_path, unit="cm")
    assert clip.subject == "bob"
    at = dict(zip(JOINTS, clip.world_m[0], strict=True))
    np.testing.assert_allclose(at["Hip"], (0, 0, 0.95), atol=1e-6)
    np.testing.assert_allclose(at["LShoulder"], (0.17, 0, 1.44), atol=1e-6)  # the arm's, not the collar bone's
    np.testing.assert_allclose(at["LElbow"], (0.45, 0, 1.44), atol=1e-6)
    np.testing.assert_allclose(at["RKnee"], (-0.09, 0, 0.48), atol=1e-6)
    np.testing.assert_allclose(at["Thorax"], (0, 0, 1.47), atol=1e-6)
    np.testing.assert_allclose(at["Neck/Nose"], (0, -0.03, 1.57), atol=1e-6)
    np.testing.assert_allclose(at["Head"], (0, -0.03, 1.75), atol=1e-6)
    np.testing.assert_allclose(at["Spine"], (0, 0, 1.19), atol=1e-6)  # the middle one of three


def test_a_wrong_unit_is_refused_and_the_right_one_named(tmp_path):
    mixamo(tmp_path / "bob.bvh")
    with pytest.raises(BadInput, match=r"stature of .* look like cm") as error:
        prepare(tmp_path / "bob.bvh", tmp_path / "out.h5")
    assert "bob.bvh" in str(error.value)
    assert not (tmp_path / "out.h5").exists()


def test_c3d_with_its_own_unit_rate_and_a_mapping(world, tmp_path):
    names = [f"M{j}" for j in range(17)] + ["RHipFront", "RHipBack"]
    extra = np.concatenate([world, world[:, 1:2] + (0, 0.1, 0), world[:, 1:2] - (0, 0.1, 0)], axis=1)
    slow = np.repeat(extra, 2, axis=0)[: 2 * T - 1]
    slow[1::2] = (extra[1:] + extra[:-1]) / 2  # 100 Hz
    write_c3d(tmp_path / "carl_1.c3d", slow * 1000, names, 100.0, "mm")
    mapping = {joint: f"M{j}" for j, joint in enumerate(JOINTS)} | {"RHip": ["RHipFront", "RHipBack"]}
    (tmp_path / "map.json").write_text(json.dumps(mapping))
    [clip] = prepared(tmp_path / "carl_1.c3d", tmp_path, joints=tmp_path / "map.json")
    assert (clip.subject, len(clip)) == ("carl", T)
    np.testing.assert_allclose(clip.world_m, world, atol=1e-5)
    with pytest.raises(BadInput, match="no name tells"):
        prepare(tmp_path / "carl_1.c3d", tmp_path / "out.h5")
    with pytest.raises(BadInput, match="stature"):
        prepare(tmp_path / "carl_1.c3d", tmp_path / "out.h5", unit="m", joints=tmp_path / "map.json")


def test_npz_that_lift_wrote(world, tmp_path):
    motion = Motion(world, 25.0, np.arange(T), np.arange(T) / 25)
    write_npz(tmp_path / "dora_3d.npz", motion)
    [clip] = prepared(tmp_path / "dora_3d.npz", tmp_path)
    assert len(clip) == 2 * T - 1  # at 50 fps, between the first and the last frame
    np.testing.assert_allclose(clip.world_m[::2], world, atol=1e-5)
    np.testing.assert_allclose(clip.world_m[1], (world[0] + world[1]) / 2, atol=1e-5)


def test_bodies_that_cannot_be_are_refused(world):
    check_person("a", world)
    with pytest.raises(BadInput, match="look like mm"):
        check_person("a", world * 1000)
    with pytest.raises(BadInput, match="upside down"):
        check_person("a", world * (1, -1, -1))
    with pytest.raises(BadInput, match="knees bend backwards"):
        check_person("a", world * (-1, 1, 1))


def test_names_of_other_skeletons():
    unreal = (
        *(
            "pelvis",
            "spine_01",
            "spine_02",
            "spine_03",
            "clavicle_l",
            "upperarm_l",
            "lowerarm_l",
            "hand_l",
            "clavicle_r",
        ),
        *("upperarm_r", "lowerarm_r", "hand_r", "neck_01", "head", "thigh_l", "calf_l", "foot_l", "thigh_r", "calf_r"),
        *("foot_r", "headEnd"),
    )
    mapping = match("a.bvh", unreal, unreal[1:4])
    assert mapping["LShoulder"] == ("upperarm_l",)
    assert mapping["RKnee"] == ("calf_r",)
    assert mapping["Thorax"] == ("neck_01",)
    assert mapping["Spine"] == ("spine_02",)
    assert match("a", JOINTS) == {joint: (joint,) for joint in JOINTS}


def test_a_bad_mapping_or_file_is_one_line(tmp_path):
    (tmp_path / "map.json").write_text('{"Hip": "a"}')
    with pytest.raises(BadInput, match="missing or unknown"):
        read_mapping(tmp_path / "map.json")
    (tmp_path / "map.json").write_text(json.dumps(dict.fromkeys(JOINTS, 3)))
    with pytest.raises(BadInput, match="a name or a list"):
        read_mapping(tmp_path / "map.json")
    for text, message in (
        ("hello", "HIERARCHY"),
        ("HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 3 Xfoo Yrotation Zrotation }", "unknown channels"),
        ("HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 1 Xrotation } MOTION Frames: 2 Frame Time: 0.1 1", "cut off"),
        ("HIERARCHY ROOT a { OFFSET 0 0", "not a whole BVH"),
    ):
        (tmp_path / "a.bvh").write_text(text)
        with pytest.raises(BadInput, match=message):
            read_bvh(tmp_path / "a.bvh")
    (tmp_path / "a.c3d").write_bytes(b"no c3d at all")
    with pytest.raises(BadInput, match="cannot be read as C3D"):
        prepare(tmp_path / "a.c3d", tmp_path / "out.h5")
    with pytest.raises(BadInput, match="expected a"):
        prepare(tmp_path / "none", tmp_path / "out.h5")


def test_the_split_is_given_by_subjects(world, tmp_path):
    for subject in ("anna", "bob", "carl"):
        (tmp_path / "src" / subject).mkdir(parents=True)
        write_bvh(tmp_path / "src" / subject / "walk.bvh", world, 50.0)
    prepare(tmp_path / "src", tmp_path / "motion.h5")
    sets = OwnMotionConfig(test=("carl",), val=("bob",)).load(tmp_path)
    assert [[c.subject for c in part] for part in sets[:3]] == [["anna"], ["bob"], ["carl"]]
    unseen = OwnMotionConfig(test=("anna", "bob", "carl")).load(tmp_path)  # to evaluate what was trained elsewhere
    assert (len(unseen.train), len(unseen.val), len(unseen.test)) == (0, 3, 3)
    one = OwnMotionConfig(test=("bob",), only_test=True).load(tmp_path)
    assert [[c.subject for c in part] for part in one[:3]] == [[], ["bob"], ["bob"]]
    with pytest.raises(BadInput, match=r"no subject dora.*anna, bob, carl"):
        OwnMotionConfig(test=("dora",)).load(tmp_path)
    with pytest.raises(BadInput, match="no test subjects"):
        OwnMotionConfig().load(tmp_path)
