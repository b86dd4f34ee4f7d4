import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from moga_st import pretrained
from moga_st.data.pose.camera import Camera, project, world_to_camera
from moga_st.data.pose.export.motion import read_npz
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.keypoints import Keypoints, read_keypoints
from moga_st.data.pose.skeleton import BONES, JOINTS
from moga_st.data.pose.world import ANKLE_M, FEET
from moga_st.errors import BadInput
from moga_st.infer.lift_files import write_lifted
from moga_st.infer.scene import lift_scene
from tests.bvh_reader import read_bvh

CPU = torch.device("cpu")
T = 100


def seen_from(tmp_path: Path, pitch_deg: float, distance_m: float = 5.0, person: int = 0) -> Keypoints:
    """A person who walks before a camera that looks down: exact keypoints, by way of a file."""
    world = generate_clip(1, "walk", 0, T).astype(np.float64)
    world += np.array([0, distance_m, 0]) - (*world[:, 0, :2].mean(0), 0)
    a = np.radians(pitch_deg)
    rotation = np.array([[1.0, 0, 0], [0, -np.sin(a), -np.cos(a)], [0, np.cos(a), -np.sin(a)]])
    place = torch.tensor([0, 0, 1.2 + distance_m * np.tan(a)], dtype=torch.float64)
    two = torch.ones(2, dtype=torch.float64)
    camera = Camera(torch.from_numpy(rotation), place, 1145 * two, 500 * two, 1000 * two)
    points = project(world_to_camera(torch.from_numpy(world), camera), camera).numpy()
    np.savez(tmp_path / "k.npz", keypoints=points, size_px=[1000, 1000], fps=50.0, layout="h36m")
    return dataclasses.replace(read_keypoints(tmp_path / "k.npz"), person=person)


@pytest.fixture(scope="module")
def net():
    return pretrained.load_model(pretrained.find_weights(Path("lifter_xs_27f")), CPU)


@pytest.mark.parametrize("pitch", [0.0, 30.0])
def test_a_person_stands_upright_on_the_floor_whatever_the_camera_looks_at(net, tmp_path, pitch):
    [motion] = lift_scene(net, [seen_from(tmp_path, pitch)], CPU, focal_px=1145.0)
    up = motion.poses_m[:, JOINTS.index("Thorax")] - motion.poses_m[:, FEET].mean(1)
    up = up.mean(0) / np.linalg.norm(up.mean(0))
    assert np.degrees(np.arccos(up[2])) < 6
    assert motion.contacts is not None
    assert 0.03 < motion.contacts.mean() < 0.95
    for k, foot in enumerate(FEET):
        if not motion.contacts[:, k].any():
            assert pitch > 0  # these weights know level cameras alone
            continue
        both = motion.contacts[1:, k] & motion.contacts[:-1, k]
        steps = np.linalg.norm(np.diff(motion.poses_m[:, foot], axis=0), axis=-1)[both]
        assert np.percentile(steps, 95) < 2e-3
        assert np.median(motion.poses_m[motion.contacts[:, k], foot, 2]) == pytest.approx(ANKLE_M, abs=2e-3)
    assert motion.note.count("floor") == 1


def test_two_people_share_a_floor_and_files_agree(net, tmp_path):
    people = [seen_from(tmp_path, 10.0), seen_from(tmp_path, 10.0, 7.0, person=1)]
    motions = lift_scene(net, people, CPU, focal_px=1145.0)
    near, far = (m.poses_m[:, 0, 1].mean() for m in motions)
    assert 3.5 < near < far < 10
    paths = write_lifted(tmp_path / "a_person1_3d", people[1], motions[1], ("npz", "bvh", "csv"), draw=False)
    assert [p.name for p in paths] == [f"a_person1_3d.{s}" for s in ("npz", "bvh", "csv")]
    saved = read_npz(paths[0])
    assert np.abs(read_bvh(paths[1]).points_m - saved.poses_m).max() < 1e-3
    assert saved.person == 1


def test_the_pictures_of_who_comes_late_say_when(net, tmp_path, monkeypatch):
    late = dataclasses.replace(seen_from(tmp_path, 10.0), first_frame=151, time_zero=1)
    [motion] = lift_scene(net, [late], CPU, focal_px=1145.0)
    drawn = {}
    monkeypatch.setattr("moga_st.infer.lift_files.save_lift", lambda *_, **named: drawn.update(named) or [])
    write_lifted(tmp_path / "a_person0_3d", late, motion, ("npz",))
    assert drawn == {"begin_s": 3.0}


def test_spaces(net, tmp_path):
    people = [seen_from(tmp_path, 20.0)]
    [root], [camera], [world] = (
        lift_scene(net, people, CPU, space=space, focal_px=1145.0, height_m=height)
        for space, height in (("root", None), ("camera", 1.8), ("world", 1.8))
    )
    assert np.abs(root.poses_m[:, 0]).max() == 0
    assert (camera.contacts, root.contacts) == (None, None)
    for bone in BONES:  # the same body, and of constant bones
        lengths = [np.linalg.norm(m.poses_m[:, bone[0]] - m.poses_m[:, bone[1]], axis=-1) for m in (camera, world)]
        assert np.ptp(lengths[0]) < 1e-6
        np.testing.assert_allclose(lengths[0], lengths[1], atol=1e-6)
    # in camera space the person still projects to the keypoints
    x, depth, up = np.moveaxis(camera.poses_m, -1, 0)
    back = np.stack([x / depth, -up / depth], -1) * 1145 + 500
    assert np.median(np.linalg.norm(back - people[0].points_px[..., :2], axis=-1)) < 25


def test_what_cannot_be_lifted_is_refused(net, tmp_path):
    person = seen_from(tmp_path, 0.0)
    with pytest.raises(BadInput, match="space"):
        lift_scene(net, [person], CPU, space="moon")
    with pytest.raises(BadInput, match="different videos"):
        lift_scene(net, [person, dataclasses.replace(person, fps=25.0)], CPU)
    with pytest.raises(BadInput, match="needs a pose lifter"):
        lift_scene(torch.nn.Linear(1, 1), [person], CPU)
