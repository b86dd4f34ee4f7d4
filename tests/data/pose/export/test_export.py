import csv
import io
from typing import Any

import numpy as np
import pygltflib
import pytest

from moga_st.data.pose.bvh import write_bvh
from moga_st.data.pose.export.gltf import write_gltf
from moga_st.data.pose.export.motion import Motion, read_npz, write_npz
from moga_st.data.pose.export.tables import write_csv, write_trc
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.rig import NAMES, fit_rig
from moga_st.data.pose.skeleton import JOINTS, PARENTS
from moga_st.data.pose.world import contacts
from moga_st.errors import BadInput
from tests.bvh_reader import read_bvh

T = 40


@pytest.fixture(scope="module")
def motion() -> Motion:
    poses = fit_rig(generate_clip(1, "turn", 0, T)).points_m() + np.array([0.3, 4.0, 0.1])
    frame = np.arange(7, 7 + T)
    return Motion(
        poses,
        50.0,
        frame,
        frame / 50,
        confidence=np.linspace(0, 1, T * 17).reshape(T, 17),
        contacts=contacts(poses, 50.0),
    )


def test_a_rig_is_fitted_by_itself_exactly(motion):
    again = fit_rig(motion.poses_m)
    np.testing.assert_allclose(again.points_m(), motion.poses_m, atol=1e-6)
    length = np.linalg.norm(again.offsets_m[1:], axis=-1)
    for joint, parent in enumerate(PARENTS[1:], 1):
        bone = np.linalg.norm(motion.poses_m[:, joint] - motion.poses_m[:, parent], axis=-1)
        np.testing.assert_allclose(bone, length[joint - 1], atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(again.world_turns()), 1, atol=1e-9)


def test_npz_comes_back_and_says_what_it_holds(motion, tmp_path):
    write_npz(tmp_path / "a_3d.npz", motion)
    assert [p.name for p in tmp_path.iterdir()] == ["a_3d.npz"]
    back = read_npz(tmp_path / "a_3d.npz")
    np.testing.assert_array_equal(back.poses_m, motion.poses_m.astype(np.float32))
    np.testing.assert_array_equal(back.contacts, motion.contacts)
    np.testing.assert_array_equal(back.frame, motion.frame)
    np.testing.assert_array_equal(back.time_s, motion.time_s)
    assert (back.fps, back.space, back.keypoints_px) == (50.0, "world", None)
    with np.load(tmp_path / "a_3d.npz") as file:
        assert tuple(file["joints"]) == JOINTS
        assert str(file["units"]) == "m"
        assert "z up" in str(file["axes"])
        assert file["contact_joints"].tolist() == ["LFoot", "RFoot"]


def test_a_plain_npz_of_poses_is_enough(tmp_path):
    np.savez(tmp_path / "mine.npz", poses_m=np.zeros((3, 17, 3)), fps=25)
    assert read_npz(tmp_path / "mine.npz").time_s.tolist() == [0, 0.04, 0.08]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 0}, "fps must be positive"),
        ({"poses_m": np.zeros((3, 16, 3))}, r"\(3, 17, 3\)"),
        ({"poses_m": np.full((3, 17, 3), np.nan)}, "finite"),
        ({"units": "mm"}, "expected metres"),
        ({"joints": np.array(["Nose"] * 17)}, "17 of Human3.6M"),
        ({"contacts": np.zeros((2, 2), bool)}, "contacts"),
        ({"space": "moon"}, "world or camera"),
        ({"size_px": np.zeros(1)}, "mine.npz"),
    ],
)
def test_a_bad_npz_is_refused_in_one_line(tmp_path, change, message):
    path = tmp_path / "mine.npz"
    np.savez(path, **{"poses_m": np.zeros((3, 17, 3)), "fps": 25.0, **change})
    with pytest.raises(BadInput, match=message) as error:
        read_npz(path)
    assert "\n" not in str(error.value)
    path.write_bytes(b"PK")
    with pytest.raises(BadInput, match=r"cannot be read as \.npz"):
        read_npz(path)


def test_csv_holds_every_number_under_its_name(motion, tmp_path):
    write_csv(tmp_path / "a.csv", motion)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert len(rows) == T
    assert [int(r["frame"]) for r in rows] == motion.frame.tolist()
    for j, name in enumerate(NAMES):
        for k, axis in enumerate("xyz"):
            values = [float(r[f"{name}_{axis}_m"]) for r in rows]
            np.testing.assert_allclose(values, motion.poses_m[:, j, k], atol=1e-6)
        np.testing.assert_allclose([float(r[f"{name}_confidence"]) for r in rows], motion.confidence[:, j], atol=1e-4)
    assert [int(r["RFoot_contact"]) for r in rows] == motion.contacts[:, 1].astype(int).tolist()


def test_trc_by_its_definition(motion, tmp_path):
    """Read as the format says: 5 lines of header and an empty one, three columns a marker, y up."""
    write_trc(tmp_path / "a.trc", motion)
    lines = (tmp_path / "a.trc").read_text().split("\n")
    assert lines[0].split("\t") == ["PathFileType", "4", "(X/Y/Z)", "a.trc"]
    about = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    assert (about["NumFrames"], about["NumMarkers"], about["Units"], about["DataRate"]) == (str(T), "17", "m", "50")
    markers = [name for name in lines[3].split("\t")[2:] if name]
    assert markers == list(NAMES)
    assert len(lines[4].split("\t")) == 2 + 3 * 17
    assert lines[5] == ""
    values = np.array([[float(v) for v in line.split("\t")] for line in lines[6:-1]])
    assert values[:, 0].tolist() == list(range(1, T + 1))
    np.testing.assert_allclose(np.diff(values[:, 1]), 0.02, atol=1e-6)
    points = values[:, 2:].reshape(T, 17, 3)
    x_forward, y_up, z_right = points[..., 0], points[..., 1], points[..., 2]
    np.testing.assert_allclose(np.stack([z_right, x_forward, y_up], -1), motion.poses_m, atol=1e-6)


def test_bvh_agrees_with_the_npz_and_its_ends_have_lengths(motion, tmp_path):
    write_bvh(tmp_path / "a.bvh", motion.poses_m, motion.fps)
    write_npz(tmp_path / "a.npz", motion)
    back = read_bvh(tmp_path / "a.bvh").points_m
    assert np.abs(back - read_npz(tmp_path / "a.npz").poses_m).max() < 1e-4
    text = (tmp_path / "a.bvh").read_text()
    ends = [part.split("OFFSET")[1].split("}")[0].split() for part in text.split("End Site")[1:]]
    lengths = np.linalg.norm(np.array(ends, float), axis=-1)
    assert len(lengths) == 5
    assert 0.04 < lengths.min() < 0.06  # the crown
    hands = [np.linalg.norm(end) for j, end in fit_rig(motion.poses_m).ends_m().items() if "Wrist" in NAMES[j]]
    np.testing.assert_allclose(hands, 0.108 * 1.75, atol=0.02)  # of a person about 1.75 m tall


def gltf_array(file: Any, number: int) -> np.ndarray:
    accessor = file.accessors[number]
    view = file.bufferViews[accessor.bufferView]
    kind = {5126: np.float32, 5121: np.uint8}[accessor.componentType]
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor.type]
    values = np.frombuffer(file.binary_blob(), kind, accessor.count * width, view.byteOffset)
    return values.reshape(accessor.count, width)


def quaternion_to_matrix(q: np.ndarray) -> np.ndarray:
    x, y, z, w = q.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)


def test_gltf_moves_joints_and_skin_as_the_poses_do(motion, tmp_path):
    """The file played by its definition: node matrices down the tree, vertices by skin matrices."""
    write_gltf(tmp_path / "a.glb", motion)
    file: Any = pygltflib.GLTF2().load_binary(str(tmp_path / "a.glb"))
    local = np.tile(np.eye(4), (T, len(file.nodes), 1, 1))
    for i, node in enumerate(file.nodes):
        local[:, i, :3, 3] = node.translation or (0, 0, 0)
    animation = file.animations[0]
    for channel in animation.channels:
        sampler = animation.samplers[channel.sampler]
        np.testing.assert_allclose(gltf_array(file, sampler.input)[:, 0], np.arange(T) / 50, atol=1e-6)
        values = gltf_array(file, sampler.output)
        if channel.target.path == "translation":
            local[:, channel.target.node, :3, 3] = values
        else:
            assert ((values[1:] * values[:-1]).sum(-1) > 0).all()  # the short way round
            local[:, channel.target.node, :3, :3] = quaternion_to_matrix(values)
    world = local.copy()
    for i, node in enumerate(file.nodes):  # parents come first
        for child in node.children or ():
            world[:, child] = world[:, i] @ local[:, child]
    names = [node.name for node in file.nodes]
    y_up = motion.poses_m[..., [0, 2, 1]] * (1, 1, -1)
    joints = [names.index(name) for name in NAMES]
    np.testing.assert_allclose(world[:, joints][..., :3, 3], y_up, atol=1e-4)

    skin, attributes = file.skins[0], file.meshes[0].primitives[0].attributes
    unbind = gltf_array(file, skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
    place = np.pad(gltf_array(file, attributes.POSITION), ((0, 0), (0, 1)), constant_values=1)
    index, weight = gltf_array(file, attributes.JOINTS_0), gltf_array(file, attributes.WEIGHTS_0)
    np.testing.assert_allclose(weight.sum(1), 1)
    np.testing.assert_allclose(np.linalg.norm(gltf_array(file, attributes.NORMAL), axis=-1), 1, atol=1e-6)
    moved = np.einsum("tvij,vj->tvi", (world[:, skin.joints] @ unbind)[:, index[:, 0]], place)[..., :3]
    # the tips of a bone's pyramid are its joints
    for j in (NAMES.index("LKnee"), NAMES.index("Head"), NAMES.index("RWrist")):
        gap = np.linalg.norm(moved - y_up[:, j, None], axis=-1).min(1)
        assert gap.max() < 1e-3, NAMES[j]
    # and the whole skin is no farther from the body than hands and feet are long
    assert np.linalg.norm(moved[:, :, None] - y_up[:, None], axis=-1).min(-1).max() < 0.35


def test_what_is_no_motion_is_refused(motion):
    with pytest.raises(BadInput, match="fps"):
        Motion(motion.poses_m, 0.0, motion.frame, motion.time_s)
    with pytest.raises(BadInput, match="t > 0"):
        Motion(motion.poses_m[:0], 50.0, motion.frame[:0], motion.time_s[:0])
    with pytest.raises(BadInput, match="space"):
        Motion(motion.poses_m, 50.0, motion.frame, motion.time_s, "sky")
