from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from scipy.io import savemat

from moga_st.data.pose.camera import project, world_to_camera
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.mpi_inf_3dhp import TEST_JOINTS, TRAIN_JOINTS, Z_UP, prepare, read_calibration, solve_lens
from moga_st.data.pose.prepared_poses import read_clips
from moga_st.errors import BadInput

T = 30


def world() -> np.ndarray:
    return generate_clip(1, "walk", 0, T).astype(np.float64)


def calibration(path: Path, numbers: tuple[int, ...]) -> None:
    """Cameras that stand 4 m from the origin on both sides, level, 1.2 m up; world y up, millimetres."""
    text = "Skeletool Camera Calibration File V1.0\n"
    for number in numbers:
        side = (-1) ** number
        # x right, y down, z towards the origin, in a world with y up
        rotation = np.array([[side, 0, 0], [0, -1, 0], [0, 0, -side]], float)
        place = np.array([0, 1200, 4000 * side], float)
        outer = np.eye(4)
        outer[:3, :3], outer[:3, 3] = rotation, -rotation @ place
        inner = np.array([[1500, 0, 1020, 0], [0, 1490, 1050, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        text += f"name          {number}\n  sensor      10 10\n  size        2048 2048\n  animated    0\n"
        text += f"  intrinsic   {' '.join(map(str, inner.ravel()))} \n"
        text += f"  extrinsic   {' '.join(map(str, outer.ravel()))} \n  radial      0\n"
    path.write_text(text)


def clips(path: Path) -> list[Any]:
    return list(read_clips(path))


def training(folder: Path, numbers: tuple[int, ...] = (0, 1), missing: tuple[int, ...] = ()) -> None:
    folder.mkdir(parents=True)
    calibration(folder / "camera.calibration", numbers)
    cameras = read_calibration(folder / "camera.calibration")
    annot2, annot3 = np.empty((len(numbers), 1), object), np.empty((len(numbers), 1), object)
    for i, number in enumerate(numbers):
        seen = world_to_camera(torch.from_numpy(world()), cameras[number])
        points, pixels = np.zeros((T, 28, 3)), np.zeros((T, 28, 2))
        points[:, TRAIN_JOINTS], pixels[:, TRAIN_JOINTS] = seen.numpy() * 1000, project(seen, cameras[number]).numpy()
        empty = number in missing
        annot3[i, 0] = np.zeros((0, 0)) if empty else points.reshape(T, 84)
        annot2[i, 0] = np.zeros((0, 0)) if empty else pixels.reshape(T, 56)
    savemat(folder / "annot.mat", {"annot2": annot2, "annot3": annot3, "cameras": np.array(numbers)})


def test_training_sequences_in_metres_with_their_cameras(tmp_path):
    training(tmp_path / "data" / "S3" / "Seq1")
    prepare(tmp_path / "data", tmp_path / "out.h5")
    [clip] = clips(tmp_path / "out.h5")
    assert (clip.name, clip.subject, clip.fps) == ("S3/Seq1", "S3", 50.0)
    np.testing.assert_allclose(clip.world_m, world(), atol=1e-5)
    assert list(clip.views) == ["camera0", "camera1"]
    for name, view in clip.views.items():
        exact = project(world_to_camera(torch.from_numpy(world()), view.camera), view.camera).numpy()
        np.testing.assert_allclose(clip.keypoints(name, "gt"), exact, atol=1e-2)
        height = view.camera.position_m[2].item()
        assert height == pytest.approx(1.2)  # z is up
    np.testing.assert_allclose(Z_UP @ (0, 1, 0), (0, 0, 1))


def test_a_part_of_it_is_enough(tmp_path):
    training(tmp_path / "data" / "S1" / "Seq1", missing=(0,))
    prepare(tmp_path / "data", tmp_path / "out.h5")
    [clip] = clips(tmp_path / "out.h5")
    assert list(clip.views) == ["camera1"]
    assert clip.fps == 25.0
    np.testing.assert_allclose(clip.world_m, world(), atol=1e-5)


def test_the_test_set_as_matlab_7_3_has_it(tmp_path):
    """Valid frames alone, their numbers kept; the lens solved from the points."""
    folder = tmp_path / "data" / "TS5"
    folder.mkdir(parents=True)
    calibration(tmp_path / "c", (1,))
    camera = read_calibration(tmp_path / "c")[1]
    seen = world_to_camera(torch.from_numpy(world()), camera)
    points, pixels = np.zeros((T, 1, 17, 3)), np.zeros((T, 1, 17, 2))
    points[:, 0, TEST_JOINTS], pixels[:, 0, TEST_JOINTS] = seen.numpy() * 1000, project(seen, camera).numpy()
    valid = np.ones((T, 1))
    valid[5:8] = 0
    with h5py.File(folder / "annot_data.mat", "w") as file:
        file["annot3"], file["annot2"], file["valid_frame"] = points, pixels, valid
    prepare(tmp_path / "data", tmp_path / "out.h5")
    [clip] = clips(tmp_path / "out.h5")
    assert clip.frame.tolist() == [i for i in range(T) if not 5 <= i < 8]
    np.testing.assert_allclose(clip.camera_m("camera0"), seen.numpy()[clip.frame], atol=1e-5)
    lens = clip.views["camera0"].camera
    np.testing.assert_allclose(lens.focal_px, (1500, 1490), atol=1e-3)
    np.testing.assert_allclose(lens.centre_px, (1020, 1050), atol=1e-3)
    assert lens.size_px.tolist() == [1920, 1080]


def test_the_lens_is_solved_by_least_squares():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (500, 3)) + np.array([0, 0, 4])
    image = points[:, :2] / points[:, 2:] * (900, 950) + (500, 480)
    focal, centre, error = solve_lens(points, image + rng.normal(0, 1, image.shape))
    np.testing.assert_allclose(focal, (900, 950), rtol=0.01)
    np.testing.assert_allclose(centre, (500, 480), atol=1)
    assert error == pytest.approx(2**0.5, rel=0.1)


def test_what_is_none_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"annot\.mat"):
        prepare(tmp_path, tmp_path / "out.h5")
    training(tmp_path / "S1" / "Seq1")
    (tmp_path / "S1" / "Seq1" / "camera.calibration").write_text("nothing")
    with pytest.raises(BadInput, match="no camera"):
        prepare(tmp_path, tmp_path / "out.h5")
    calibration(tmp_path / "S1" / "Seq1" / "camera.calibration", (7,))
    with pytest.raises(BadInput, match="camera 0 is not in"):
        prepare(tmp_path, tmp_path / "out.h5")
    (tmp_path / "S1" / "Seq1" / "annot.mat").write_bytes(b"no mat")
    with pytest.raises(BadInput, match=r"annot\.mat.*cannot be read"):
        prepare(tmp_path, tmp_path / "out.h5")
