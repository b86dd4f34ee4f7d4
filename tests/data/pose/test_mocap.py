import math
from pathlib import Path

import numpy as np
import pytest

from moga_st.data.pose import mocap
from moga_st.data.pose.mocap import check_body, euler, joints_m, read_amc, read_asf, to_h36m17
from moga_st.data.pose.prepared_poses import read_clips, read_contents
from moga_st.data.pose.skeleton import BONES, JOINTS, MIRROR
from moga_st.errors import BadInput

UNIT_M = 0.0254 / 0.45

HEADER = """\
# AST/ASF file generated using VICON BodyLanguage
# -----------------------------------------------
:version 1.10
:name VICON
:units
  mass 1.0
  length 0.45
  angle deg
:documentation
   .ast/.asf automatically generated from VICON data using
   VICON BodyBuilder and BodyLanguage model FoxedUp or BRILLIANT.MOD
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
"""

# name: parent, direction, length, axis, dof. A person of our own making, built as CMU's are.
PERSON = {
    "lhipjoint": ("root", (0.6, -0.75, 0.28), 2.5, (0, 0, 0), ""),
    "lfemur": ("lhipjoint", (0.34202, -0.939693, 0), 7.2, (0, 0, 20), "rx ry rz"),
    "ltibia": ("lfemur", (0.34202, -0.939693, 0), 7.4, (0, 0, 20), "rx"),
    "lfoot": ("ltibia", (0.06, -0.18, 0.98), 2.2, (-90, 0, 20), "rx rz"),
    "ltoes": ("lfoot", (0, 0, 1), 1.1, (-90, 0, 20), "rx"),
    "rhipjoint": ("root", (-0.6, -0.75, 0.28), 2.5, (0, 0, 0), ""),
    "rfemur": ("rhipjoint", (-0.34202, -0.939693, 0), 7.3, (0, 0, -20), "rx ry rz"),
    "rtibia": ("rfemur", (-0.34202, -0.939693, 0), 7.5, (0, 0, -20), "rx"),
    "rfoot": ("rtibia", (-0.06, -0.18, 0.98), 2.2, (-90, 0, -20), "rx rz"),
    "rtoes": ("rfoot", (0, 0, 1), 1.1, (-90, 0, -20), "rx"),
    "lowerback": ("root", (0.01, 0.99, -0.1), 2.0, (0, 0, 0), "rx ry rz"),
    "upperback": ("lowerback", (0, 1, 0), 2.1, (0, 0, 0), "rx ry rz"),
    "thorax": ("upperback", (0, 1, 0.02), 2.1, (0, 0, 0), "rx ry rz"),
    "lowerneck": ("thorax", (0, 1, 0.1), 1.6, (0, 0, 0), "rx ry rz"),
    "upperneck": ("lowerneck", (0, 1, -0.1), 1.6, (0, 0, 0), "rx ry rz"),
    "head": ("upperneck", (0, 1, 0), 1.7, (0, 0, 0), "rx ry rz"),
    "lclavicle": ("thorax", (0.9, 0.4, -0.1), 3.5, (0, 0, 0), "ry rz"),
    "lhumerus": ("lclavicle", (1, 0, 0), 5.0, (180, 30, 90), "rx ry rz"),
    "lradius": ("lhumerus", (1, 0, 0), 3.3, (180, 30, 90), "rx"),
    "lwrist": ("lradius", (1, 0, 0), 1.65, (180, 90, 90), "ry"),
    "lhand": ("lwrist", (1, 0, 0), 0.7, (180, 90, 90), "rx rz"),
    "lfingers": ("lhand", (1, 0, 0), 0.6, (180, 90, 90), "rx"),
    "lthumb": ("lwrist", (0.7, 0, 0.7), 0.8, (90, 45, 0), "rx rz"),
    "rclavicle": ("thorax", (-0.9, 0.4, -0.1), 3.5, (0, 0, 0), "ry rz"),
    "rhumerus": ("rclavicle", (-1, 0, 0), 5.1, (180, -30, -90), "rx ry rz"),
    "rradius": ("rhumerus", (-1, 0, 0), 3.2, (180, -30, -90), "rx"),
    "rwrist": ("rradius", (-1, 0, 0), 1.6, (180, -90, -90), "ry"),
    "rhand": ("rwrist", (-1, 0, 0), 0.7, (180, -90, -90), "rx rz"),
    "rfingers": ("rhand", (-1, 0, 0), 0.6, (180, -90, -90), "rx"),
    "rthumb": ("rwrist", (-0.7, 0, 0.7), 0.8, (90, -45, 0), "rx rz"),
}


def asf(bones: dict) -> str:
    lines = [HEADER + ":bonedata"]
    for i, (name, (_, direction, length, axis, dof)) in enumerate(bones.items(), start=1):
        lines += ["  begin", f"     id {i} ", f"     name {name}", f"     direction {' '.join(map(str, direction))} "]
        lines += [f"     length {length} ", f"     axis {' '.join(map(str, axis))}  XYZ"]
        if dof:
            first, *more = ["(-160.0 20.0)"] * len(dof.split())
            lines += [f"    dof {dof}", f"    limits {first}", *(f"           {limit}" for limit in more)]
        lines.append("  end")
    lines += [":hierarchy", "  begin"]
    for parent in ("root", *bones):
        children = [name for name, bone in bones.items() if bone[0] == parent]
        if children:
            lines.append(f"    {parent} {' '.join(children)}")
    return "\n".join([*lines, "  end", ""])


def amc(frames: list[dict[str, list[float]]]) -> str:
    lines = ["#!OML:ASF F:\\VICON\\USERDATA\\INSTALL\\rory3.ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for i, frame in enumerate(frames, start=1):
        lines += [str(i), *(f"{name} {' '.join(f'{v!r}' for v in values)}" for name, values in frame.items())]
    return "\n".join([*lines, ""])


def moves(bones: dict, frames: int, seed: int, size: float = 60) -> list[dict[str, list[float]]]:
    """A motion of every joint, smooth in time; knees bend as knees do."""
    rng = np.random.default_rng(seed)
    dofs = {"root": 6, **{name: len(b[4].split()) for name, b in bones.items() if b[4]}}
    phase = {name: rng.uniform(0, 6.28, n) for name, n in dofs.items()}
    motion = []
    for i in range(frames):
        frame = {name: (size * np.sin(i / 20 + p)).tolist() for name, p in phase.items()}
        frame["root"][:3] = [i / 50, 16 + i / 100, -i / 30]
        for knee in ("ltibia", "rtibia"):
            if knee in frame:
                frame[knee] = [40 + frame[knee][0] / 3]
        motion.append(frame)
    return motion


def load(tmp_path: Path, bones: dict, frames: list):
    (tmp_path / "b.asf").write_text(asf(bones))
    (tmp_path / "b_01.amc").write_text(amc(frames))
    body = read_asf(tmp_path / "b.asf")
    return body, read_amc(tmp_path / "b_01.amc", body)


def test_an_arm_of_two_bones_by_hand(tmp_path):
    # The upper bone, along x, turns about an axis in the plane of x and y, 30 degrees above x: half a turn takes
    # it to 60 degrees above x. The forearm's frame is turned by 90 degrees about z, so its rx turns it about y.
    bones = {
        "upper": ("root", (2, 0, 0), 10, (0, 0, 30), "rx"),
        "fore": ("upper", (0, 0, 1), 4, (0, 0, 90), "rx"),
    }
    frames = [
        {"root": [0, 0, 0, 0, 0, 0], "upper": [0], "fore": [0]},
        {"root": [1, 2, 3, 0, 0, 0], "upper": [180], "fore": [0]},
        {"root": [0, 0, 0, 0, 90, 0], "upper": [0], "fore": [0]},
        {"root": [0, 0, 0, 90, 90, 0], "upper": [0], "fore": [90]},
    ]
    ends = joints_m(*load(tmp_path, bones, frames), 50, 50)
    s, h = math.sqrt(3) / 2, 0.5
    # in the file's y up and its units; z forward
    upper = [(10, 0, 0), (1 + 10 * h, 2 + 10 * s, 3), (0, 0, -10), (0, 0, -10)]
    # Frame 1: half a turn about (s, h, 0) takes z to -z. Frame 2: the root's turn about y takes x to -z, z to x.
    # Frame 3: the elbow turns z to x; then the root turns about x first (x stays), then about y (x to -z).
    fore = [(10, 0, 4), (1 + 10 * h, 2 + 10 * s, 3 - 4), (4, 0, -10), (0, 0, -14)]
    for name, by_hand in (("upper", upper), ("fore", fore)):
        x, y, z = np.array(by_hand).T * UNIT_M
        np.testing.assert_allclose(ends[name], np.stack([x, -z, y], -1), atol=1e-12)


def turn(v: np.ndarray, axis: np.ndarray, degrees: float) -> np.ndarray:
    """Rodrigues' formula for a vector."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return v * c + np.cross(axis, v) * s + axis * (axis @ v) * (1 - c)


def slow_end(bones: dict, frame: dict[str, list[float]], name: str) -> np.ndarray:
    """Where a bone ends, y up, vector by vector: each bone from there to the root turns all that hangs on it."""
    chain = [name]
    while bones[chain[-1]][0] != "root":
        chain.append(bones[chain[-1]][0])
    total = np.zeros(3)
    for link in chain:  # from the end to the root: what hangs on a bone turns with it about its start
        _, direction, length, axis, dof = bones[link]
        total = total + np.array(direction) / np.linalg.norm(direction) * length
        local = [np.eye(3)[i] for i in range(3)]
        for i, angle in enumerate(axis):  # the frame's axes, turned about x, then y, then z of the world
            local = [turn(v, np.eye(3)[i], angle) for v in local]
        for what, angle in zip(dof.split(), frame.get(link, ()), strict=True):
            total = turn(total, local["xyz".index(what[1])], angle)
    for i, angle in enumerate(frame["root"][3:]):
        total = turn(total, np.eye(3)[i], angle)
    return (total + frame["root"][:3]) * UNIT_M


def test_forward_kinematics_equals_a_slow_version_on_the_whole_body(tmp_path):
    frames = moves(PERSON, 7, seed=1, size=120)
    ends = joints_m(*load(tmp_path, PERSON, frames), 120, 120)
    assert set(ends) == {"root", *PERSON}
    for name in PERSON:
        x, y, z = np.array([slow_end(PERSON, frame, name) for frame in frames]).T
        np.testing.assert_allclose(ends[name], np.stack([x, -z, y], -1), atol=1e-10, err_msg=name)


def test_the_17_joints_are_where_their_rules_say(tmp_path):
    rest = {
        name: [0.0] * (6 if name == "root" else len(dof.split()))
        for name, dof in [("root", ""), *((n, b[4]) for n, b in PERSON.items())]
        if name == "root" or dof
    }
    ends = joints_m(*load(tmp_path, PERSON, [rest]), 120, 50)
    pose = dict(zip(JOINTS, to_h36m17(ends)[0], strict=True))
    np.testing.assert_allclose(pose["Hip"], (pose["LHip"] + pose["RHip"]) / 2, atol=1e-12)
    lengths = {(JOINTS[i], JOINTS[j]): np.linalg.norm(pose[JOINTS[i]] - pose[JOINTS[j]]) / UNIT_M for i, j in BONES}
    expected = {("LHip", "LKnee"): 7.2, ("RHip", "RKnee"): 7.3, ("LKnee", "LFoot"): 7.4, ("RKnee", "RFoot"): 7.5}
    expected |= {("LShoulder", "LElbow"): 5.0, ("RShoulder", "RElbow"): 5.1, ("LElbow", "LWrist"): 4.95}
    expected |= {("RElbow", "RWrist"): 4.8, ("Thorax", "LShoulder"): 3.5, ("Neck/Nose", "Head"): 1.7}
    for bone, length in expected.items():
        assert lengths[bone] == pytest.approx(length, abs=1e-9), bone
    assert pose["Head"][2] > pose["Thorax"][2] > pose["Spine"][2] > pose["Hip"][2] > pose["LKnee"][2]  # z is up
    # facing z in the file is facing -y here; the left side is then at larger x
    assert ends["ltoes"][0, 1] < ends["ltibia"][0, 1]
    for joint in ("Hip", "Knee", "Foot", "Shoulder", "Elbow", "Wrist"):
        assert pose[f"L{joint}"][0] > 0 > pose[f"R{joint}"][0]
    with pytest.raises(BadInput, match="no bone lwrist, thorax; expected CMU's 31 joints"):
        to_h36m17({k: v for k, v in ends.items() if k not in ("lwrist", "thorax")})


def test_resampling_keeps_bone_lengths_and_constant_turns(tmp_path):
    bones = {"upper": ("root", (1, 0, 0), 10, (10, 20, 30), "rz"), "fore": ("upper", (0, 1, 0), 4, (0, 0, 0), "rx")}
    frames = [{"root": [i, 0, 0, 0, 0, 0], "upper": [7.0 * i], "fore": [-11.0 * i]} for i in range(26)]
    body, motion = load(tmp_path, bones, frames)
    ends = joints_m(body, motion, 120, 50)
    # 25 steps of 1/120 s hold 10 of 1/50 s and a rest, which is not extrapolated
    assert len(ends["fore"]) == 11
    # with constant turning the moments between frames are known: 2.4 source frames apart
    exact = [{"root": [2.4 * k, 0, 0, 0, 0, 0], "upper": [7 * 2.4 * k], "fore": [-11 * 2.4 * k]} for k in range(11)]
    for name in bones:
        x, y, z = np.array([slow_end(bones, frame, name) for frame in exact]).T
        np.testing.assert_allclose(ends[name], np.stack([x, -z, y], -1), atol=1e-9)
    # half the rate takes every second frame as it is
    full, half = joints_m(body, motion, 100, 100), joints_m(body, motion, 100, 50)
    for name in bones:
        np.testing.assert_allclose(half[name], full[name][::2], atol=1e-12)
    # and a restless body's bones keep their lengths, though the source's frames are far apart
    wild = moves(PERSON, 40, seed=3, size=170)[::4]
    ends = joints_m(*load(tmp_path, PERSON, wild), 120, 50)
    length = np.linalg.norm(ends["lradius"] - ends["lhumerus"], axis=-1)
    np.testing.assert_allclose(length, 3.3 * UNIT_M, rtol=1e-12)


def test_one_frame_is_one_frame_and_rates_must_be_positive(tmp_path):
    body, motion = load(tmp_path, PERSON, moves(PERSON, 1, seed=0))
    assert len(joints_m(body, motion, 120, 50)["head"]) == 1
    with pytest.raises(BadInput, match="must be positive, got 0"):
        joints_m(body, motion, 0, 50)


def test_euler_angles_turn_about_fixed_axes_in_the_order_named():
    v = np.array([0.3, -0.5, 0.8])
    by_hand = turn(turn(turn(v, np.eye(3)[2], 10.0), np.eye(3)[0], -70.0), np.eye(3)[1], 35.0)
    np.testing.assert_allclose(euler(np.array([10.0, -70.0, 35.0]), "zxy") @ v, by_hand, atol=1e-15)


@pytest.mark.parametrize("layout", ["subjects/07/{}", "{}"])
def test_a_folder_of_the_sites_files_becomes_a_prepared_file(tmp_path, layout):
    src = tmp_path / "src"
    for name, text in (
        ("07.asf", asf(PERSON)),
        ("07_01.amc", amc(moves(PERSON, 61, seed=1, size=15))),
        ("07_11.amc", amc(moves(PERSON, 25, seed=2, size=15))),
    ):
        path = src / layout.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (src / "index.txt").write_text("subject 7\n07_01\tslow walk \n35_01 run\n")
    mocap.prepare(src, tmp_path / "cmu.h5")
    contents = read_contents(tmp_path / "cmu.h5")
    assert [c[:5] for c in contents.clips] == [
        ("S07/01", "S07", "slow walk", 50.0, 26),
        ("S07/11", "S07", "unknown", 50.0, 11),
    ]
    for clip in read_clips(tmp_path / "cmu.h5"):
        assert clip.world_m is not None
        length = {JOINTS[j]: np.linalg.norm(clip.world_m[:, i] - clip.world_m[:, j], axis=-1) for i, j in BONES}
        assert np.ptp(length["LKnee"]) < 1e-6
        assert length["LKnee"].mean() == pytest.approx(7.2 * UNIT_M, abs=1e-6)
        assert len(clip.views) == 4
        for view in clip.views:
            keypoints, z = clip.keypoints(view, "gt"), clip.camera_m(view)[..., 2]
            assert (z > 3).all()
            assert ((keypoints > 0) & (keypoints < 1000)).all()
            assert keypoints[0, JOINTS.index("Head"), 1] < keypoints[0, JOINTS.index("LFoot"), 1]  # upright
    before = (tmp_path / "cmu.h5").read_bytes()
    mocap.prepare(src, tmp_path / "cmu.h5")
    assert (tmp_path / "cmu.h5").read_bytes() == before
    mocap.prepare(src, tmp_path / "cmu.h5", src_fps=60)
    assert [c.frames for c in read_contents(tmp_path / "cmu.h5").clips] == [51, 21]


def person(tmp_path: Path, frames: int = 30) -> np.ndarray:
    return to_h36m17(joints_m(*load(tmp_path, PERSON, moves(PERSON, frames, seed=1, size=15)), 50, 50))


def test_what_cannot_be_a_person_is_refused(tmp_path):
    pose = person(tmp_path)
    check_body("c", pose)
    check_body(
        "c", (pose + np.array([3, -2, 1])) @ euler(np.array([70.0, 20.0, -130.0]), "zxy")
    )  # whatever it does, it is one
    with pytest.raises(BadInput, match=r"clip c: a stature of 61\.\d\d m, .* are the units right"):
        check_body("c", pose / 0.0254)
    with pytest.raises(BadInput, match="knees bend backwards"):
        check_body("c", pose[:, MIRROR])
    with pytest.raises(BadInput, match="knees bend backwards"):
        check_body("c", pose * [1, -1, 1])
    standing = pose.copy()  # on straight legs, which say nothing of the sides
    for side in ("L", "R"):
        hip, knee, foot = (JOINTS.index(side + joint) for joint in ("Hip", "Knee", "Foot"))
        thigh, leg = np.split(np.linalg.norm(np.diff(pose[:, [hip, knee, foot]], axis=1), axis=-1), 2, axis=1)
        standing[:, knee], standing[:, foot] = (
            pose[:, hip] - [0, 0, 1] * thigh,
            pose[:, hip] - [0, 0, 1] * (thigh + leg),
        )
    check_body("c", standing)
    check_body("c", standing[:, MIRROR])
    stretched = pose.copy()
    stretched[3, JOINTS.index("RWrist")] *= 1.05
    with pytest.raises(BadInput, match="RElbow-RWrist changes its length"):
        check_body("c", stretched)


def write_npz(path: Path, **change) -> dict[str, np.ndarray]:
    pose = person(path.parent, 20)
    origin = np.array([[0.5, -1.25, 0.0], [10.0, 20.0, 0.0]])
    arrays = {name: np.round((pose[part] - pose[0, 0] * [1, 1, 0]) / 0.00025).astype(np.int16)
              for name, part in (("S02/01", slice(0, 12)), ("S35/02_p1", slice(12, 20)))}  # fmt: skip
    meta = {"fps": np.float64(50), "unit_m": np.float64(0.00025), "joint_names": np.array(JOINTS)}
    meta |= {"clips": np.array(list(arrays)), "subject": np.array(["S02", "S35"]), "action": np.array(["walk", "run"])}
    meta |= {"origin_xy_m": origin}
    everything = {**arrays, **{f"meta/{k}": v for k, v in meta.items()}, **change}
    np.savez_compressed(path, **{k: v for k, v in everything.items() if v is not None})
    return {name: array * 0.00025 + o for (name, array), o in zip(arrays.items(), origin, strict=True)}


def test_the_ready_npz_becomes_a_prepared_file(tmp_path):
    expected = write_npz(tmp_path / "cmu.npz")
    mocap.prepare(tmp_path / "cmu.npz", tmp_path / "cmu.h5")
    clips = list(read_clips(tmp_path / "cmu.h5"))
    assert [(c.name, c.subject, c.action, c.fps) for c in clips] == [
        ("S02/01", "S02", "walk", 50.0),
        ("S35/02_p1", "S35", "run", 50.0),
    ]
    for clip in clips:
        assert clip.world_m is not None
        np.testing.assert_allclose(clip.world_m, expected[clip.name], rtol=1e-6)
        assert clip.views.keys() == {"virtual0", "virtual1", "virtual2", "virtual3"}
    assert "NSF EIA-0196217" in read_contents(tmp_path / "cmu.h5").licence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"meta/unit_m": None}, r"cmu\.npz: has no array 'meta/unit_m'"),
        ({"meta/joint_names": np.array(JOINTS[::-1])}, r"cmu\.npz: its joints are not the 17"),
        ({"S02/01": None}, r"cmu\.npz: has no array 'S02/01'"),
        ({"S02/01": np.zeros((5, 16, 3), np.int16)}, r"clip S02/01 is int16 \(5, 16, 3\)"),
        ({"meta/clips": np.array(["S02/01"])}, r"cmu\.npz: not the 17-joint CMU npz"),
        ({"meta/unit_m": np.float64(0.001)}, "S02/01: a stature of"),
    ],
)
def test_a_bad_npz_is_named(tmp_path, change, message):
    write_npz(tmp_path / "cmu.npz", **change)
    with pytest.raises(BadInput, match=message):
        mocap.prepare(tmp_path / "cmu.npz", tmp_path / "cmu.h5")
    assert not (tmp_path / "cmu.h5").exists()


GOOD_ASF, GOOD_AMC = asf(PERSON), amc(moves(PERSON, 3, seed=1, size=15))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"holds no \.amc file"),
        ({"07.asf": GOOD_ASF}, r"holds no \.amc file"),
        ({"07_01.amc": GOOD_AMC}, r"07_01\.amc: its skeleton 07\.asf is not in"),
        ({"07.asf": "no skeleton", "07_01.amc": GOOD_AMC}, r"07\.asf: has no :units section"),
        ({"07.asf": GOOD_ASF.replace("angle deg", "angle rad"), "07_01.amc": GOOD_AMC}, r"07\.asf: angles in 'rad'"),
        ({"07.asf": GOOD_ASF.replace("dof ry rz", "dof ry l"), "07_01.amc": GOOD_AMC}, r"07\.asf: not a readable ASF"),
        ({"07.asf": GOOD_ASF.replace("  thorax lower", "  thorax root lower"), "07_01.amc": GOOD_AMC}, "readable ASF"),
        ({"07.asf": GOOD_ASF.replace("length 2.5", "length long"), "07_01.amc": GOOD_AMC}, "readable ASF.*'long'"),
        ({"07.asf": GOOD_ASF, "07_01.amc": GOOD_AMC[:-60]}, r"07_01\.amc: ends within frame 3"),
        ({"07.asf": GOOD_ASF, "07_01.amc": ":DEGREES\n"}, r"07_01\.amc: holds no whole frame of 29 bones"),
        ({"07.asf": GOOD_ASF, "07_01.amc": GOOD_AMC.replace("rtoes", "toes")}, "not those of the skel.* .rtoes, toes."),
        ({"07.asf": GOOD_ASF, "07_01.amc": GOOD_AMC.replace("3\nroot", "3\nrood")}, "6 numbers for bone root"),
        ({"07.asf": GOOD_ASF, "07_01.amc": GOOD_AMC.replace("ltoes ", "ltoes x")}, "1 numbers for bone ltoes: co"),
        ({"07.asf": GOOD_ASF.replace("name rwrist", "name hook").replace(" rwrist", " hook"),
          "07_01.amc": GOOD_AMC.replace("rwrist", "hook")}, r"07_01\.amc: the skeleton has no bone rwrist"),
        ({"07.asf": GOOD_ASF.replace("length 0.45", "length 1"), "07_01.amc": GOOD_AMC}, "S07/01: a stature of 0.7"),
    ],
)  # fmt: skip
def test_a_bad_folder_is_named(tmp_path, files, message):
    src = tmp_path / "src"
    src.mkdir()
    for name, text in files.items():
        (src / name).write_text(text)
    with pytest.raises(BadInput, match=message):
        mocap.prepare(src, tmp_path / "cmu.h5")
    assert not (tmp_path / "cmu.h5").exists()


def test_other_sources_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"nothing: expected a folder with the site's \.asf and \.amc files"):
        mocap.prepare(tmp_path / "nothing", tmp_path / "cmu.h5")


def test_test_and_validation_subjects_are_apart():
    assert not set(mocap.TEST_SUBJECTS) & set(mocap.VAL_SUBJECTS)
    assert set(mocap.TEST_SUBJECTS) == {"S05", "S07", "S14", "S16", "S35"}


def test_frames_that_do_not_follow_each_other_are_refused(tmp_path):
    body, _ = load(tmp_path, PERSON, moves(PERSON, 3, seed=0))
    lines = amc(moves(PERSON, 6, seed=1)).splitlines()
    starts = [i for i, line in enumerate(lines) if line.strip().isdigit()]
    whole = tmp_path / "whole.amc"
    whole.write_text("\n".join(lines))
    motion = read_amc(whole, body)
    for name, kept, said in (
        ("gap", [0, 1, 4, 5], "expected frame 3, found '5'"),
        ("twice", [0, 1, 1, 2], "expected frame 3, found '2'"),
        ("backwards", [3, 2], "expected frame 5, found '3'"),
    ):
        path = tmp_path / f"{name}.amc"
        each = starts[1] - starts[0]
        path.write_text(
            "\n".join([*lines[: starts[0]], *(x for k in kept for x in lines[starts[k] : starts[k] + each])])
        )
        with pytest.raises(BadInput, match=rf"{name}\.amc: {said}"):
            read_amc(path, body)
    later = tmp_path / "later.amc"  # one that begins later is whole
    later.write_text("\n".join([*lines[: starts[0]], *lines[starts[2] :]]))
    np.testing.assert_array_equal(read_amc(later, body)["root"], motion["root"][2:])
