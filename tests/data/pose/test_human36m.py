import pickle
from typing import Any

import h5py
import numpy as np
import pytest

from moga_st.data.pose import human36m
from moga_st.data.pose.human36m import (
    ACTIONS,
    CAMERA_NAMES,
    JOINTS_OF_32,
    LENSES,
    PLACES,
    prepare,
)
from moga_st.data.pose.prepared_poses import MotionClip, describe, read_clips, read_contents
from moga_st.errors import BadInput

LEFT_RIGHT = [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]


def people(frames: int, seed: int) -> np.ndarray:
    """32 joints of somebody near the middle of the studio: (frames, 32, 3) float32 metres."""
    rng = np.random.default_rng(seed)
    walk = rng.normal(size=(frames, 1, 3)).cumsum(0) * 0.02
    return (rng.uniform([-0.6, -0.6, 0], [0.6, 0.6, 1.8], (1, 32, 3)) + walk).astype(np.float32)


def turn(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A vector turned by a unit quaternion (w, x, y, z), as v + 2 w (u x v) + 2 u x (u x v)."""
    u = q[1:]
    return v + 2 * q[0] * np.cross(u, v) + 2 * np.cross(u, np.cross(u, v))


def see(world_m: np.ndarray, subject: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Camera-space metres and pixels by the published formulas, from the published numbers."""
    quaternion, place_mm = PLACES[subject][index]
    lens = list(LENSES.values())[index]
    back = np.array(quaternion) * [1, -1, -1, -1]
    camera_m = turn(back, world_m.astype(np.float64) - np.array(place_mm) / 1000)
    u = camera_m[..., :2] / camera_m[..., 2:]
    r2 = (u**2).sum(-1, keepdims=True)
    k1, k2, k3 = lens.radial
    bend = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + (u * lens.tangential).sum(-1, keepdims=True)
    return camera_m, (u * bend + np.array(lens.tangential) * r2) * lens.focal_px + lens.centre_px


def read_one(path, name: str) -> MotionClip:
    [clip] = [clip for clip in read_clips(path) if clip.name == name]
    return clip


# ---------------------------------------------------------------------------------------------------------


def test_the_calibration_is_typed_in_without_a_slip():
    numbers = [x for lens in LENSES.values() for group in lens[1:] for x in group]
    numbers += [x for places in PLACES.values() for place in places for group in place for x in group]
    assert len(numbers) == 4 * 9 + 7 * 4 * 7
    for x in numbers:  # shortest or exact decimals of float32 values: a wrong digit would not be one
        as_float32 = np.float32(x)
        assert x in (float(as_float32), float(str(as_float32))), x
    for places in PLACES.values():
        for quaternion, _ in places:
            assert np.linalg.norm(quaternion) == pytest.approx(1, abs=1e-6)
    assert set(PLACES) == {"S1", "S5", "S6", "S7", "S8", *human36m.TEST_SUBJECTS}
    assert tuple(LENSES) == ("54138969", "55011271", "58860488", "60457274")


@pytest.mark.parametrize("subject", list(PLACES))
def test_all_cameras_see_the_middle_of_the_studio_upright(subject):
    for i, name in enumerate(CAMERA_NAMES):
        camera = human36m.camera(subject, name)
        assert 1.4 < camera.position_m[2] < 1.7
        feet, head = see(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.7]]), subject, i)[1]
        for x, y in (feet, head):
            assert 100 < x < 900
            assert 100 < y < 950
        assert head[1] + 200 < feet[1]
        assert abs(head[0] - feet[0]) < 60
    with pytest.raises(BadInput, match=r"no calibration of camera '1' for subject 'S2'; known are subjects S1, S5"):
        human36m.camera("S2", "1")


# VideoPose3D


def write_videopose3d(folder, sources=("gt", "cpn_ft_h36m_dbb"), symmetry=LEFT_RIGHT) -> dict:
    world: dict = {"S1": {"Walking 1": people(5, 0), "Photo": people(3, 1)}, "S11": {"WalkDog 1": people(4, 2)}}
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d=np.array(world))
    for source in sources:
        extra = 0 if source == "gt" else 2  # detections run on after the capture
        noise = np.random.default_rng(9)
        data: Any = {
            subject: {
                name: [
                    np.concatenate(
                        [see(x[:, JOINTS_OF_32], subject, i)[1], noise.uniform(0, 1000, (extra, 17, 2))]
                    ).astype(np.float32)
                    + (source != "gt") * np.float32(i + 1)
                    for i in range(4)
                ]
                for name, x in actions.items()
            }
            for subject, actions in world.items()
        }
        metadata: Any = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": symmetry}
        np.savez_compressed(folder / f"data_2d_h36m_{source}.npz", positions_2d=data, metadata=metadata)
    return world


def test_videopose3d_files(tmp_path):
    world = write_videopose3d(tmp_path / "src")
    prepare(tmp_path / "src", tmp_path / "h.h5")
    contents = read_contents(tmp_path / "h.h5")
    assert [c[:5] for c in contents.clips] == [
        ("S1/Walking 1", "S1", "Walking", 50.0, 5),
        ("S1/Photo", "S1", "Photo", 50.0, 3),
        ("S11/WalkDog 1", "S11", "WalkDog", 50.0, 4),
    ]
    assert contents.clips[0].keypoints == ("cpn_ft_h36m_dbb", "gt")
    assert "not to be passed on" in contents.licence
    for clip in read_clips(tmp_path / "h.h5"):
        all_joints = world[clip.subject][clip.name.split("/")[1]]
        assert clip.world_m is not None
        np.testing.assert_array_equal(clip.world_m, all_joints[:, JOINTS_OF_32])
        assert tuple(clip.views) == CAMERA_NAMES
        for i, name in enumerate(CAMERA_NAMES):
            camera_m, pixels = see(clip.world_m, clip.subject, i)
            np.testing.assert_allclose(clip.camera_m(name), camera_m, atol=1e-5)
            np.testing.assert_allclose(clip.keypoints(name, "gt"), pixels, atol=1e-3)
            np.testing.assert_allclose(clip.keypoints(name, "cpn_ft_h36m_dbb"), pixels + i + 1, atol=1e-3)


def test_videopose3d_files_of_which_a_camera_and_a_subject_are_missing(tmp_path):
    write_videopose3d(tmp_path / "src", sources=("cpn",))
    path = tmp_path / "src" / "data_2d_h36m_cpn.npz"
    with np.load(path, allow_pickle=True) as data:
        seen = data["positions_2d"].item()
    photo = seen["S1"]["Photo"]
    del seen["S11"]
    for nothing in (None, np.zeros((0, 17, 2), np.float32)):
        seen["S1"]["Photo"] = [*photo[:2], nothing, photo[3]]
        spoil_npz(path, "positions_2d", seen)
        prepare(tmp_path / "src", tmp_path / "h.h5")
        first, second, third = read_clips(tmp_path / "h.h5")
        assert tuple(first.views) == tuple(third.views) == CAMERA_NAMES
        assert tuple(second.views) == (*CAMERA_NAMES[:2], CAMERA_NAMES[3])
        np.testing.assert_array_equal(second.keypoints(CAMERA_NAMES[3], "cpn"), photo[3][:3])
        with pytest.raises(BadInput, match="S11/WalkDog 1: camera 54138969 has no 2D keypoints 'cpn'; it has gt"):
            third.keypoints(CAMERA_NAMES[0], "cpn")
    assert "2D keypoints cpn (in 2 of them)" in describe(tmp_path / "h.h5")
    seen["S1"]["Photo"] = photo[:3]
    spoil_npz(path, "positions_2d", seen)
    with pytest.raises(BadInput, match="an empty array in the place of a missing camera"):
        prepare(tmp_path / "src", tmp_path / "h.h5")


def test_exact_keypoints_are_those_of_the_gt_file(tmp_path):
    write_videopose3d(tmp_path / "with")
    write_videopose3d(tmp_path / "without", sources=())
    for name in ("with", "without"):
        prepare(tmp_path / name, tmp_path / f"{name}.h5")
    for a, b in zip(read_clips(tmp_path / "with.h5"), read_clips(tmp_path / "without.h5"), strict=True):
        for view in a.views:
            assert "gt" in a.views[view].keypoints
            assert "gt" not in b.views[view].keypoints
            np.testing.assert_allclose(a.keypoints(view, "gt"), b.keypoints(view, "gt"), atol=1e-3)


def spoil_npz(path, key, value):
    with np.load(path, allow_pickle=True) as data:
        arrays = {**data, key: value}
    np.savez_compressed(path, **{k: v for k, v in arrays.items() if v is not None})


def test_bad_videopose3d_files_are_named(tmp_path):
    src, out = tmp_path / "src", tmp_path / "h.h5"
    write_videopose3d(src, symmetry=[[1, 3, 5], [2, 4, 6]])
    with pytest.raises(BadInput, match=r"data_2d_h36m_cpn_ft_h36m_dbb\.npz: its keypoints are not the 17 of Human3.6M"):
        prepare(src, out)
    for value, message in (
        (None, "positions_3d is no dict"),
        (
            {"S1": {"Walking": np.zeros((4, 17, 3), np.float32)}},
            r"S1 Walking has shape \(4, 17, 3\), expected \(t, 32, 3\)",
        ),
        (
            {"S1": {"Eating": people(2, 0)}},
            r"gt\.npz: has no keypoints of four cameras for S1 'Eating'|dbb\.npz: has no",
        ),
        ({"S1": {"Walking 1": people(9, 0)}}, r"camera 54138969 has shape \(7, 17, 2\), expected \(9 or more, 17, 2\)"),
        ({"S2": {"Walking 1": people(3, 0)}}, "has a subject 'S2', expected S1, S5"),
    ):
        write_videopose3d(src)
        spoil_npz(src / "data_3d_h36m.npz", "positions_3d", value)
        with pytest.raises(BadInput, match=message):
            prepare(src, out)
    (src / "data_3d_h36m.npz").write_bytes(b"PK junk")
    with pytest.raises(BadInput, match=r"data_3d_h36m\.npz: cannot be read as \.npz"):
        prepare(src, out)
    assert not out.exists()


# mmpose


TAKES = {"train": [("S1", "Directions_1", 4), ("S8", "TakingPhoto", 3)], "test": [("S9", "Walking", 2)]}


def write_mmpose(folder, step: int = 5, splits: dict[str, list[tuple[str, str, int]]] = TAKES) -> dict:
    """As tools/dataset_converters/preprocess_h36m.py lays it out, with a detector's file."""
    base, cameras, made = folder / "annotation_body3d", {}, {}
    rate = f"fps{50 // step}"
    (base / rate).mkdir(parents=True)
    (folder / "joint_2d_det_files").mkdir()
    for subject in PLACES:
        for i, (name, lens) in enumerate(LENSES.items()):
            quaternion, place_mm = PLACES[subject][i]
            to_world = np.stack([turn(np.array(quaternion), e) for e in np.eye(3)], axis=1)
            cameras[subject, name] = {
                "R": to_world,
                "T": np.array(place_mm).reshape(3, 1) * 0.001,
                "c": np.array(lens.centre_px).reshape(2, 1),
                "f": np.array(lens.focal_px).reshape(2, 1),
                "k": np.array(lens.radial).reshape(3, 1),
                "p": np.array(lens.tangential)[::-1].reshape(2, 1),  # as in Human3.6M's own file
                "w": lens.size_px[0],
                "h": lens.size_px[1],
                "name": f"camera{i + 1}",
                "id": name,
            }
    with (base / "cameras.pkl").open("wb") as file:
        pickle.dump(cameras, file)
    for split, takes in splits.items():
        names, part, pose = [], [], []
        for subject, take, frames in takes:
            world = people(frames, frames)[:, JOINTS_OF_32]
            made[f"{subject}/{take}"] = world
            for i, camera in enumerate(CAMERA_NAMES):
                base_name = f"{subject}_{take}.{camera}"
                names += [f"{subject}/{base_name}/{base_name}_{f * step + 1:06d}.jpg" for f in range(frames)]
                camera_m, pixels = see(world, subject, i)
                part.append(np.concatenate([pixels, np.ones((frames, 17, 1))], -1))
                pose.append(np.concatenate([camera_m, np.ones((frames, 17, 1))], -1))
        order = np.random.default_rng(0).permutation(len(names))  # rows need no order: their names give it
        part, pose = np.concatenate(part)[order], np.concatenate(pose)[order]
        about = {"center": part[:, 0, :2], "scale": np.ones(len(names))}
        np.savez(base / rate / f"h36m_{split}.npz", imgname=np.array(names)[order], S=pose, part=part, **about)
        detected = np.concatenate([part[..., :2] + 3, np.full_like(part[..., 2:], 0.5)], -1)
        np.save(folder / "joint_2d_det_files" / f"cpn_ft_h36m_dbb_{split}.npy", detected)
    return made


def test_mmpose_files(tmp_path):
    made = write_mmpose(tmp_path / "src")
    prepare(tmp_path / "src", tmp_path / "h.h5")
    assert {c[:5] for c in read_contents(tmp_path / "h.h5").clips} == {
        ("S1/Directions_1", "S1", "Directions", 10.0, 4),
        ("S8/TakingPhoto", "S8", "Photo", 10.0, 3),
        ("S9/Walking", "S9", "Walking", 10.0, 2),
    }
    for clip in read_clips(tmp_path / "h.h5"):
        assert clip.evenly_spaced
        for i, name in enumerate(CAMERA_NAMES):
            camera_m, pixels = see(made[clip.name], clip.subject, i)
            np.testing.assert_allclose(clip.camera_m(name), camera_m, atol=1e-5)
            np.testing.assert_allclose(clip.keypoints(name, "gt"), pixels, atol=1e-3)
            detected = clip.keypoints(name, "cpn_ft_h36m_dbb")
            np.testing.assert_allclose(detected[..., :2], pixels + 3, atol=1e-3)
            np.testing.assert_array_equal(detected[..., 2], 0.5)
            # the cameras of the pickle project the poses onto the file's own keypoints, and place them in the world
            seen = MotionClip(
                "c", "s", "a", 10, views={name: human36m.View(clip.views[name].camera, clip.camera_m(name))}
            )
            np.testing.assert_allclose(seen.keypoints(name, "gt"), pixels, atol=2e-3)
            placed = MotionClip("c", "s", "a", 10, made[clip.name], {name: human36m.View(clip.views[name].camera)})
            np.testing.assert_allclose(placed.camera_m(name), camera_m, atol=1e-5)


def test_bad_mmpose_files_are_named(tmp_path):
    src, out = tmp_path / "src", tmp_path / "h.h5"
    write_mmpose(src)
    test = src / "annotation_body3d" / "fps10" / "h36m_test.npz"
    np.save(src / "joint_2d_det_files" / "sh_test.npy", np.zeros((7, 17, 3)))
    with pytest.raises(BadInput, match=r"sh_test\.npy: has shape \(7, 17, 3\), expected \(8, 17, 3\)"):
        prepare(src, out)
    (src / "joint_2d_det_files" / "sh_test.npy").unlink()
    with np.load(test) as data:
        arrays = dict(data)
    for change, message in (
        ({"imgname": np.array(["a.jpg"] * 8)}, r"image name 'a\.jpg', expected like S1_Directions_1"),
        ({"S": arrays["S"][:, :, :2]}, r"h36m_test\.npz: expected imgname"),
        ({"imgname": np.char.replace(arrays["imgname"], "60457274", "1")}, r"cameras\.pkl: no camera 1 of S9"),
    ):
        np.savez(test, **{**arrays, **change})
        with pytest.raises(BadInput, match=message):
            prepare(src, out)
    np.savez(test, **arrays)
    (src / "annotation_body3d" / "fps50").mkdir()
    test.rename(src / "annotation_body3d" / "fps50" / "h36m_test.npz")
    with pytest.raises(BadInput, match="several frame rates"):
        prepare(src, out)
    prepare(src / "annotation_body3d" / "fps50", out)
    assert [c.name for c in read_contents(out).clips] == ["S9/Walking"]
    (src / "annotation_body3d" / "cameras.pkl").unlink()
    with pytest.raises(BadInput, match=r"cameras\.pkl is neither here"):
        prepare(src / "annotation_body3d" / "fps10", out)


# MotionBERT


def write_pack(path) -> dict:
    """Train rows without factors and actions, test rows with them, as the published pack has it; one test take has
    rows under another camera's name, one train source comes twice, and some keypoints have a third number, which
    MotionBERT drops."""
    rng = np.random.default_rng(3)
    pack: dict = {}
    for split, sources in (
        ("train", [("s_01_act_02_subact_01_ca_01", 0, 4), ("s_01_act_02_subact_01_ca_02", 1, 4),
                   ("s_01_act_02_subact_01_ca_01", 0, 2)]),
        ("test", [("s_09_act_05_subact_02_ca_01", 0, 3), ("s_09_act_05_subact_02_ca_04", 3, 3),
                  ("s_11_act_16_subact_01_ca_02", 1, 2)]),
    ):  # fmt: skip
        n = sum(frames for *_, frames in sources)
        data = {
            "joint_2d": rng.uniform(0, 1000, (n, 17, 3 if split == "train" else 2)),
            "confidence": rng.uniform(0, 1, (n, 17, 1) if split == "test" else (n, 17)).astype(np.float32),
            "joint3d_image": rng.normal(size=(n, 17, 3)),
            "camera_name": np.array([CAMERA_NAMES[i] for _, i, frames in sources for _ in range(frames)]),
            "source": [source for source, _, frames in sources for _ in range(frames)],
        }
        if split == "test":
            data["joints_2.5d_image"] = rng.normal(size=(n, 17, 3))
            data["2.5d_factor"] = rng.uniform(3, 5, n)
            data["action"] = ["Greet"] * n
            data["camera_name"][1] = CAMERA_NAMES[2]
        pack[split] = data
    with path.open("wb") as file:
        pickle.dump(pack, file)
    return pack


def test_the_motionbert_pack(tmp_path):
    path = tmp_path / "h36m_sh_conf_cam_source_final.pkl"
    pack = write_pack(path)
    prepare(path, tmp_path / "h.h5")
    assert [c[:6] for c in read_contents(tmp_path / "h.h5").clips] == [
        ("S1/s_01_act_02_subact_01", "S1", "Directions", 50.0, 4, ("54138969", "55011271")),
        ("S1/s_01_act_02_subact_01_p1", "S1", "Directions", 50.0, 2, ("54138969",)),
        ("S9/s_09_act_05_subact_02", "S9", "Greeting", 50.0, 3, ("54138969", "60457274")),
        ("S11/s_11_act_16_subact_01", "S11", "WalkTogether", 50.0, 2, ("55011271",)),
    ]
    for name, camera, split, rows in (
        ("S1/s_01_act_02_subact_01", 0, "train", slice(0, 4)),
        ("S1/s_01_act_02_subact_01", 1, "train", slice(4, 8)),
        ("S1/s_01_act_02_subact_01_p1", 0, "train", slice(8, 10)),
        ("S9/s_09_act_05_subact_02", 0, "test", slice(0, 3)),
        ("S9/s_09_act_05_subact_02", 3, "test", slice(3, 6)),
        ("S11/s_11_act_16_subact_01", 1, "test", slice(6, 8)),
    ):
        view = read_one(tmp_path / "h.h5", name).views[CAMERA_NAMES[camera]]
        data = pack[split]
        np.testing.assert_array_equal(view.keypoints["sh"][..., :2], data["joint_2d"][rows, :, :2].astype(np.float32))
        np.testing.assert_array_equal(view.keypoints["sh"][..., 2], data["confidence"][rows].reshape(-1, 17))
        for key in ("joint3d_image", "joints_2.5d_image", "2.5d_factor"):
            assert (key in view.extra) == (key in data)
            if key in data:
                np.testing.assert_array_equal(view.extra[key], data[key][rows].astype(np.float32))
        assert view.camera.size_px.tolist() == list(LENSES[CAMERA_NAMES[camera]].size_px)
        assert view.camera_m is None
    mixed = read_one(tmp_path / "h.h5", "S9/s_09_act_05_subact_02").views
    assert mixed["54138969"].extra["size_px"].tolist() == [[1000, 1002], [1000, 1000], [1000, 1002]]
    assert "size_px" not in mixed["60457274"].extra


def test_a_bad_pack_is_named(tmp_path):
    path = tmp_path / "h36m_sh_conf_cam_source_final.pkl"
    for change, message in (
        ({"source": None}, "train lacks source"),
        ({"source": ["S1"] * 10}, "source 'S1', expected like s_01_act_02"),
        ({"source": ["s_01_act_01_subact_01_ca_01"] * 10}, "action number 1, expected 2 to 16"),
        ({"joint_2d": np.zeros((9, 17, 2))}, r"train's joint_2d has shape \(9, 17, 2\), expected \(10, 17, 2\)"),
    ):
        pack = write_pack(path)
        pack["train"] = {k: v for k, v in {**pack["train"], **change}.items() if v is not None}
        path.write_bytes(pickle.dumps(pack))
        with pytest.raises(BadInput, match=message):
            prepare(path, tmp_path / "h.h5")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(BadInput, match=r"final\.pkl: not a readable pickle"):
        prepare(tmp_path, tmp_path / "h.h5")


# h36m-fetch


def test_h36m_fetch_files(tmp_path):
    world = people(6, 5)
    frames = np.array([1, 3, 4, 9, 12, 13])
    for subject, folder, action, take, rows, missing in (
        (1, "S1/SittingDown-2", 10, 2, slice(None), ()),
        (11, "S11/Directions-2", 2, 2, slice(0, 5, 2), ("54138969",)),
    ):
        parts: dict[str, list] = {"pose/2d": [], "pose/3d": [], "pose/3d-univ": [], "camera": [], "frame": []}
        for i, camera in enumerate(CAMERA_NAMES):
            if camera in missing:
                continue
            camera_m, pixels = see(world[rows], f"S{subject}", i)
            shown = np.arange(1, 13, 5) if subject == 11 else frames
            for key, value in (("pose/2d", pixels), ("pose/3d", camera_m * 1000), ("pose/3d-univ", camera_m * 900)):
                parts[key].append(value)
            parts["camera"].append(np.full(len(shown), int(camera)))
            parts["frame"].append(shown)
        data = {key: np.concatenate(value) for key, value in parts.items()}
        for key, value in (("subject", subject), ("action", action), ("subaction", take)):
            data[key] = np.full(len(data["frame"]), value)
        path = tmp_path / "processed" / folder / "annot.h5"
        path.parent.mkdir(parents=True)
        with h5py.File(path, "w") as file:
            for key, value in data.items():
                file[key] = value
            file["intrinsics/54138969"] = np.ones(4)
    prepare(tmp_path / "processed", tmp_path / "h.h5")
    assert [c[:6] for c in read_contents(tmp_path / "h.h5").clips] == [
        ("S1/SittingDown-2", "S1", "SittingDown", 50.0, 6, CAMERA_NAMES),
        ("S11/Directions-2", "S11", "Directions", 10.0, 3, CAMERA_NAMES[1:]),
    ]
    for clip, rows in zip(read_clips(tmp_path / "h.h5"), (slice(None), slice(0, 5, 2)), strict=True):
        for name in clip.views:
            camera_m, pixels = see(world[rows][:, JOINTS_OF_32], clip.subject, CAMERA_NAMES.index(name))
            np.testing.assert_allclose(clip.camera_m(name), camera_m, atol=1e-5)
            np.testing.assert_allclose(clip.keypoints(name, "gt"), pixels, atol=1e-3)
    thinned, even = read_clips(tmp_path / "h.h5")
    assert thinned.frame is not None
    assert thinned.frame.tolist() == frames.tolist()
    assert not thinned.evenly_spaced
    assert even.frame is None
    with h5py.File(tmp_path / "processed" / "S1" / "SittingDown-2" / "annot.h5", "r+") as file:
        del file["subaction"]
    with pytest.raises(BadInput, match=r"annot\.h5: expected h36m-fetch's pose/2d"):
        prepare(tmp_path / "processed", tmp_path / "h.h5")


def test_cameras_that_saw_other_frames_become_clips_of_their_own(tmp_path):
    path = tmp_path / "S5" / "Eating-1" / "annot.h5"
    path.parent.mkdir(parents=True)
    seen = {"54138969": [1, 2], "55011271": [1, 2, 3], "58860488": [1, 2]}
    n = sum(map(len, seen.values()))
    with h5py.File(path, "w") as file:
        file["pose/2d"], file["pose/3d"] = np.ones((n, 32, 2)), np.ones((n, 32, 3))
        file["camera"] = np.concatenate([np.full(len(f), int(c)) for c, f in seen.items()])
        file["frame"] = np.concatenate(list(seen.values()))
        for key, value in (("subject", 5), ("action", 4), ("subaction", 1)):
            file[key] = np.full(n, value)
    prepare(tmp_path, tmp_path / "out" / "h.h5")
    assert [(c.name, c.frames) for c in read_contents(tmp_path / "out" / "h.h5").clips] == [
        ("S5/Eating-1 [54138969 58860488]", 2),
        ("S5/Eating-1 [55011271]", 3),
    ]


# pickles


class Evil:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (open, (self.marker, "w"))


def test_code_in_a_pickle_is_never_run(tmp_path):
    evil, marker = Evil(tmp_path / "ran"), tmp_path / "ran"
    pack = tmp_path / "h36m_sh_conf_cam_source_final.pkl"
    pack.write_bytes(pickle.dumps({"train": evil}))
    with pytest.raises(
        BadInput, match=r"final\.pkl: its pickle asks for (_?io|builtins)\.open, which is no plain data"
    ):
        prepare(pack, tmp_path / "h.h5")
    src = tmp_path / "src"
    write_videopose3d(src)
    spoil_npz(src / "data_3d_h36m.npz", "positions_3d", {"S1": {"Walking": evil}})
    with pytest.raises(BadInput, match=r"data_3d_h36m\.npz: positions_3d: its pickle asks for"):
        prepare(src, tmp_path / "h.h5")
    write_mmpose(tmp_path / "mm")
    (tmp_path / "mm" / "annotation_body3d" / "cameras.pkl").write_bytes(pickle.dumps({("S1", "54138969"): evil}))
    with pytest.raises(BadInput, match=r"cameras\.pkl: its pickle asks for"):
        prepare(tmp_path / "mm", tmp_path / "h.h5")
    assert not marker.exists()


# what there is


def test_a_folder_with_nothing_or_too_much_is_told(tmp_path):
    with pytest.raises(BadInput) as error:
        prepare(tmp_path, tmp_path / "h.h5")
    for name in ("data_3d_h36m.npz", "h36m_train.npz", "cam_source*.pkl", "annot.h5"):
        assert name in str(error.value)
    write_videopose3d(tmp_path / "a")
    write_pack(tmp_path / "h36m_sh_conf_cam_source_final.pkl")
    with pytest.raises(BadInput, match=r"holds several formats, VideoPose3D .* and MotionBERT .*; name the folder"):
        prepare(tmp_path, tmp_path / "h.h5")
    prepare(tmp_path / "a", tmp_path / "h.h5")


def test_the_action_numbers():
    assert len(ACTIONS) == 15
    # MotionBERT's three left-out takes are known by number and by name
    assert [ACTIONS[i - 2] for i in (5, 10, 13)] == ["Greeting", "SittingDown", "Waiting"]
