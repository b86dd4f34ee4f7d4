import numpy as np
import pytest

from moga_st.data.pose.bvh import _to_zxy, write_bvh
from moga_st.data.pose.rig import NAMES
from moga_st.data.pose.skeleton import BONES, PARENTS
from moga_st.errors import BadInput
from tests.bvh_reader import read_bvh


def turns(rng: np.random.Generator, t: int, largest: float) -> np.ndarray:
    """Random rotations (t, 3, 3) by Rodrigues' formula, up to ``largest`` radians."""
    axis = rng.normal(size=(t, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = rng.uniform(0, largest, (t, 1, 1))
    k = np.zeros((t, 3, 3))
    k[:, 2, 1], k[:, 0, 2], k[:, 1, 0] = axis.T
    k -= k.transpose(0, 2, 1)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def moving_body(t: int, seed: int, largest: float = 2.5) -> np.ndarray:
    """A skeleton of constant bones, lopsided, that turns every joint at random and walks: (t, 17, 3), z up."""
    rng = np.random.default_rng(seed)
    offsets = rng.uniform(0.1, 0.4, (17, 3)) * rng.choice([-1, 1], (17, 3))
    world = np.empty((t, 17, 3, 3))
    points = np.empty((t, 17, 3))
    for joint, parent in enumerate(PARENTS):
        own = turns(rng, t, largest)
        if parent < 0:
            world[:, joint], points[:, joint] = own, np.cumsum(rng.normal(0, 0.1, (t, 3)), 0)
        else:
            world[:, joint] = world[:, parent] @ own
            points[:, joint] = points[:, parent] + world[:, parent] @ offsets[joint]
    return points


def t_pose() -> np.ndarray:
    """(17, 3), bones of 0.2 m, facing -y: the person's left is +x."""
    points = np.zeros((17, 3))
    left, right, up, down = np.array([(1, 0, 0), (-1, 0, 0), (0, 0, 1), (0, 0, -1)]) * 0.2
    bones = [right, down, down, left, down, down, up, up, up, up, left, left, left, right, right, right]
    for (parent, joint), bone in zip(BONES, bones, strict=True):
        points[joint] = points[parent] + bone
    return points


def directions(points: np.ndarray) -> np.ndarray:
    bones = np.stack([points[:, j] - points[:, p] for p, j in BONES], axis=1)
    return bones / np.linalg.norm(bones, axis=-1, keepdims=True)


@pytest.mark.parametrize("seed", range(3))
def test_a_rigid_skeleton_comes_back_where_it_was(tmp_path, seed):
    points = moving_body(40, seed, largest=3.1)
    write_bvh(tmp_path / "walk.bvh", points, 50.0)
    motion = read_bvh(tmp_path / "walk.bvh")
    assert motion.names == NAMES
    assert motion.parents == PARENTS
    assert motion.fps == pytest.approx(50.0)
    np.testing.assert_allclose(motion.points_m, points, atol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["walk.bvh"]  # nothing temporary stays


def test_noisy_lengths_become_their_medians_and_directions_stay(tmp_path):
    rng = np.random.default_rng(5)
    body = moving_body(31, 5)
    noisy = body.copy()
    scale = rng.uniform(0.8, 1.2, (31, 17, 1))
    for joint, parent in enumerate(PARENTS[1:], 1):
        noisy[:, joint] = noisy[:, parent] + scale[:, joint] * (body[:, joint] - body[:, parent])
    write_bvh(tmp_path / "noisy.bvh", noisy, 25.0)
    back = read_bvh(tmp_path / "noisy.bvh").points_m
    np.testing.assert_allclose(directions(back), directions(body), atol=1e-4)
    for parent, joint in BONES:
        expected = np.median(np.linalg.norm(noisy[:, joint] - noisy[:, parent], axis=1))
        np.testing.assert_allclose(np.linalg.norm(back[:, joint] - back[:, parent], axis=1), expected, atol=1e-5)


def test_noisy_points_keep_every_direction_below_the_rigid_hip_and_thorax(tmp_path):
    points = moving_body(25, 2) + np.random.default_rng(2).normal(0, 0.02, (25, 17, 3))
    write_bvh(tmp_path / "a.bvh", points, 25.0)
    kept, given = directions(read_bvh(tmp_path / "a.bvh").points_m), directions(points)
    rigid = np.array([parent in (0, 8) for parent, _ in BONES])
    np.testing.assert_allclose(kept[:, ~rigid], given[:, ~rigid], atol=1e-4)
    angle = np.degrees(np.arccos(np.clip((kept[:, rigid] * given[:, rigid]).sum(-1), -1, 1)))
    assert 0.1 < angle.mean() < 10  # they must give way, but not by more than the noise


def test_rest_pose_is_a_t_pose_that_faces_z_with_y_up(tmp_path):
    """A T-pose facing the world's -y needs no rotation at all, so the file's angles must all be zero."""
    write_bvh(tmp_path / "t.bvh", np.stack([t_pose()] * 2) + np.array([1, 2, 3]), 30.0)
    text = (tmp_path / "t.bvh").read_text()
    frame = [float(v) for v in text.splitlines()[-1].split()]
    np.testing.assert_allclose(frame[:3], [1, 3, -2], atol=1e-6)  # world z is the file's y
    np.testing.assert_allclose(frame[3:], 0, atol=1e-6)
    assert "JOINT LWrist" in text
    assert "OFFSET 0.200000" in text.split("JOINT LWrist")[1]
    assert "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation" in text
    assert "Frame Time: 0.03333333333" in text


def test_angles_do_not_jump_between_frames(tmp_path):
    """A body that spins twice about the vertical: its heading goes on past 180 degrees."""
    body = moving_body(1, 0)[0]
    body -= body[0]
    angle = np.linspace(0, 4 * np.pi, 90)
    c, s, o = np.cos(angle), np.sin(angle), np.zeros(90)
    spin = np.stack([c, -s, o, s, c, o, o, o, o + 1], -1).reshape(-1, 3, 3)
    write_bvh(tmp_path / "spin.bvh", np.einsum("tij,kj->tki", spin, body), 30.0)
    lines = (tmp_path / "spin.bvh").read_text().split("Frame Time:")[1].splitlines()[1:]
    values = np.array([[float(v) for v in line.split()] for line in lines])
    assert np.abs(np.diff(values[:, 3:], axis=0)).max() < 90


def test_degenerate_bones_and_half_turns(tmp_path):
    """Coincident joints, and thighs that point straight up: half a turn from rest."""
    points = np.tile(t_pose(), (3, 1, 1))
    points[:, 10] = points[:, 9]  # a head on its neck
    points[1, 2] = points[1, 1] + (0, 0, 0.2)
    points[1, 3] = points[1, 2] + (0, 0, 0.2)
    write_bvh(tmp_path / "a.bvh", points, 30.0)
    np.testing.assert_allclose(read_bvh(tmp_path / "a.bvh").points_m, points, atol=1e-4)


def test_gimbal_lock(tmp_path):
    """People on their backs and faces, turned any way: x is 90 degrees, so only the sum of z and y counts."""
    poses = []
    for i, angle in enumerate(np.linspace(-3, 3, 12)):
        c, s, down = np.cos(angle), np.sin(angle), (-1) ** i
        heading = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        poses.append(t_pose() @ np.array([[1, 0, 0], [0, 0, -down], [0, down, 0]]).T @ heading.T)
    write_bvh(tmp_path / "a.bvh", np.stack(poses), 30.0)
    np.testing.assert_allclose(read_bvh(tmp_path / "a.bvh").points_m, np.stack(poses), atol=1e-4)
    c, s = np.cos(0.7), np.sin(0.7)  # Rz(0.7) Rx(90 degrees), with zeros that are exact
    np.testing.assert_allclose(_to_zxy(np.array([[c, 0, s], [s, 0, -c], [0, 1, 0]])), [np.degrees(0.7), 90, 0])


def test_reader_takes_other_orders_and_moving_joints(tmp_path):
    """A file by hand: order Y X Z at the root, and a child that has position channels; the slow arithmetic."""
    (tmp_path / "hand.bvh").write_text(
        "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 6 Xposition Yposition Zposition Yrotation Xrotation Zrotation\n"
        "JOINT b\n{\nOFFSET 9 9 9\nCHANNELS 3 Xposition Yposition Zposition\nEnd Site\n{\nOFFSET 1 1 1\n}\n}\n}\n"
        "MOTION\nFrames: 1\nFrame Time: 0.04\n10 20 30 90 0 90 1 2 3\n"
    )
    motion = read_bvh(tmp_path / "hand.bvh")
    # Rz(90) takes (1, 2, 3) to (-2, 1, 3); Ry(90) takes that to (3, 1, 2); the root adds (10, 20, 30)
    y_up = [[10, 20, 30], [13, 21, 32]]
    z_up = [[x, -z, y] for x, y, z in y_up]
    np.testing.assert_allclose(motion.points_m[0], z_up, atol=1e-9)
    assert motion.fps == pytest.approx(25)
    assert motion.parents == (-1, 0)


def test_bad_input(tmp_path):
    points = moving_body(3, 0)
    path = tmp_path / "a.bvh"
    with pytest.raises(BadInput, match=r"\(t, 17, 3\)"):
        write_bvh(path, points[:, :16], 30.0)
    with pytest.raises(BadInput, match="t > 0"):
        write_bvh(path, points[:0], 30.0)
    with pytest.raises(BadInput, match="frame rate"):
        write_bvh(path, points, 0.0)
    points[1, 4, 2] = np.nan
    with pytest.raises(BadInput, match="frame 1 "):
        write_bvh(path, points, 30.0)
    assert not path.exists()
