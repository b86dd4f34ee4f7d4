import time
import weakref
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from moga_st.data.pose.camera import Camera
from moga_st.data.pose.prepared_poses import MotionClip, View, describe, read_clips, read_contents, write_poses
from moga_st.errors import BadInput


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def camera(distorted: bool = True) -> Camera:
    """One that looks along the world's y axis from 5 m before the origin, 1 m up: x right, y down, z forward."""
    values: list = [[[1, 0, 0], [0, 0, -1], [0, 1, 0]], [0.5, -5, 1], [1145, 1143], [512, 515], [1000, 1002]]
    values += [[-0.2, 0.25, -0.003], [-0.001, 0.002]] if distorted else []
    return Camera(*(torch.tensor(v, dtype=torch.float64) for v in values))


def full_clip(name: str = "S1/Walking 1", subject: str = "S1", frames: int = 4) -> MotionClip:
    given = View(
        camera(),
        random(frames, 17, 3, seed=1) + np.array([0, 0, 5], np.float32),
        {"gt": random(frames, 17, 2, seed=2), "sh": random(frames, 17, 3, seed=3)},
        {"2.5d_factor": random(frames, seed=4), "joints_2.5d_image": random(frames, 17, 3, seed=5)},
    )
    views = {"54138969": given, "60457274": View(camera(distorted=False))}
    return MotionClip(name, subject, "Walking", 50.0, random(frames, 17, 3, seed=6) / 3, views, np.arange(frames) ** 2)


def write(path, *clips: MotionClip) -> None:
    write_poses(path, clips, "made by a test", "none")


def test_what_is_written_is_read_to_the_bit(tmp_path):
    clip = full_clip()
    write(tmp_path / "new" / "p.h5", clip)
    [read] = read_clips(tmp_path / "new" / "p.h5")
    assert (read.name, read.subject, read.action, read.fps) == (clip.name, clip.subject, clip.action, clip.fps)
    assert list(read.views) == list(clip.views)
    pairs = [(read.world_m, clip.world_m), (read.frame, clip.frame)]
    for name, view in clip.views.items():
        other = read.views[name]
        assert other.keypoints.keys() == view.keypoints.keys()
        assert other.extra.keys() == view.extra.keys()
        pairs += [(other.camera_m, view.camera_m)]
        pairs += [(other.keypoints[k], v) for k, v in view.keypoints.items()]
        pairs += [(other.extra[k], v) for k, v in view.extra.items()]
        pairs += [(a, b) for a, b in zip(vars(other.camera).values(), vars(view.camera).values(), strict=True)]
    for a, b in pairs:
        assert (a is None) == (b is None)
        if b is not None:
            np.testing.assert_array_equal(a, b)
            assert a is not None
            assert a.dtype == b.dtype


def test_camera_poses_and_exact_keypoints_come_from_world_and_camera(tmp_path):
    write(tmp_path / "p.h5", full_clip())
    [clip] = read_clips(tmp_path / "p.h5")
    assert clip.world_m is not None
    x, y, z = np.moveaxis(clip.world_m.astype(np.float64), -1, 0)
    seen = np.stack([x - 0.5, -(z - 1), y + 5], -1)  # that camera's axes, by hand
    np.testing.assert_allclose(clip.camera_m("60457274"), seen, atol=1e-6)
    by_hand = seen[..., :2] / seen[..., 2:] * [1145, 1143] + [512, 515]
    np.testing.assert_allclose(clip.keypoints("60457274", "gt"), by_hand, atol=1e-3)
    # what the source gives comes first
    np.testing.assert_array_equal(clip.camera_m("54138969"), clip.views["54138969"].camera_m)
    np.testing.assert_array_equal(clip.keypoints("54138969", "gt"), clip.views["54138969"].keypoints["gt"])
    with pytest.raises(BadInput, match=r"camera 60457274 has no 2D keypoints 'sh'; it has gt"):
        clip.keypoints("60457274", "sh")
    flat = MotionClip("c", "s", "a", 50, views={"1": View(camera(), keypoints={"sh": random(2, 17, 3)})})
    with pytest.raises(BadInput, match="clip c: has no 3D poses in metres"):
        flat.keypoints("1", "gt")


def test_the_same_clips_give_the_same_bytes(tmp_path):
    write(tmp_path / "a", full_clip())
    time.sleep(1.1)  # HDF5 would keep the time, in whole seconds
    write(tmp_path / "b", full_clip())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_clips_are_written_one_at_a_time(tmp_path):
    alive: list[weakref.ref] = []

    def clips():
        for i in range(5):
            clip = full_clip(f"clip {i}")
            assert sum(r() is not None for r in alive) <= 1, "earlier clips are still in memory"
            alive.append(weakref.ref(clip))
            yield clip
            del clip

    write_poses(tmp_path / "p.h5", clips(), "made by a test", "none")
    assert [c.name for c in read_contents(tmp_path / "p.h5").clips] == [f"clip {i}" for i in range(5)]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "p.h5"
    write(path, full_clip())
    before = path.read_bytes()

    def clips():
        yield full_clip("new")
        raise BadInput("the source is bad")

    with pytest.raises(BadInput, match="the source is bad"):
        write_poses(path, clips(), "made by a test", "none")
    with pytest.raises(BadInput, match="clip new: comes twice"):
        write(path, full_clip("new"), full_clip("new"))
    with pytest.raises(BadInput, match="no clips"):
        write(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_contents_filters_and_description(tmp_path):
    path = tmp_path / "p.h5"
    detected = MotionClip("c", "S11", "Eating", 25, views={"1": View(camera(), keypoints={"sh": random(6, 17, 2)})})
    write(path, full_clip(), full_clip("b", "S9", 3), detected)
    contents = read_contents(path)
    assert [(c.name, c.frames, c.fps) for c in contents.clips] == [("S1/Walking 1", 4, 50), ("b", 3, 50), ("c", 6, 25)]
    # of a clip's 2D sources, those that all its views have
    assert [(c.views, c.keypoints) for c in contents.clips] == [
        (("54138969", "60457274"), ("gt",)),
        (("54138969", "60457274"), ("gt",)),
        (("1",), ("sh",)),
    ]
    assert [c.name for c in read_clips(path, subjects=("S9", "S11"))] == ["b", "c"]
    assert list(read_clips(path, subjects=())) == []
    with pytest.raises(BadInput, match=r"no subject 'S2'.*it has S1, S9, S11"):
        read_clips(path, subjects=("S2",))
    text = describe(path)
    for part in (
        "3 clips, 13 frames, 0.0 minutes at 25, 50 fps, 1, 2 cameras a clip",
        "2D keypoints gt (in 2 of them), sh (in 1 of them)",
        "S9: 1 clips, 3",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("frame", "even"), [(None, True), ([3], True), ([1, 6, 11], True), ([1, 6, 12], False), ([0, 1, 1], False)]
)
def test_unevenly_spaced_frames_are_told(frame, even):
    frames = 3 if frame is None else len(frame)
    clip = MotionClip("c", "s", "a", 50, random(frames, 17, 3), frame=None if frame is None else np.array(frame))
    assert clip.evenly_spaced == even


def spoilt(x: np.ndarray, value: float) -> np.ndarray:
    x = x.copy()
    x[2, 5, 1] = value
    return x


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"world_m": random(4, 16, 3)}, r"clip c: world_m has shape \(4, 16, 3\), expected \(t, 17, 3\)"),
        ({"world_m": spoilt(random(4, 17, 3), np.nan)}, "world_m holds NaN or infinite values, first in frame 2 of 4"),
        ({"world_m": spoilt(random(4, 17, 3), np.inf)}, "first in frame 2 of 4"),
        ({"world_m": random(0, 17, 3)}, "frames"),
        ({"world_m": None}, "no poses and no keypoints"),
        ({"fps": 0.0}, "fps must be positive"),
        ({"fps": float("nan")}, "fps must be positive"),
        ({"frame": np.arange(3)}, r"frame has shape \(3,\), expected 4"),
        ({"views": {"1": View(camera(), random(3, 17, 3))}}, "1/camera_m has shape"),
        ({"views": {"1": View(camera(), keypoints={"sh": random(4, 17, 4)})}}, "1/keypoints/sh has shape.* or "),
        ({"views": {"1": View(camera(), extra={"f": random(5)})}}, "expected 5"),
    ],
)
def test_a_bad_clip_is_refused(change, message):
    good = {"name": "c", "subject": "s", "action": "a", "fps": 50.0, "world_m": random(4, 17, 3)}
    MotionClip(**good)
    with pytest.raises(BadInput, match=message):
        MotionClip(**{**good, **change})


def damage_attribute(name: str, value: object):
    def damage(path):
        with h5py.File(path, "r+") as file:
            file.attrs[name] = value

    return damage


def put_nan(path):
    with h5py.File(path, "r+") as file:
        world_m: Any = file["clips/000000/world_m"]
        world_m[1, 3, 2] = np.nan


def drop_views(path):
    with h5py.File(path, "r+") as file:
        del file["clips/000000/views"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def flip_bits(path):
    with h5py.File(path) as file:
        chunk = file["clips/000000/world_m"].id.get_chunk_info(0)
    raw = bytearray(path.read_bytes())
    for i in range(chunk.byte_offset + 20, chunk.byte_offset + 40):
        raw[i] ^= 0xFF
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "no such file; prepare it with"),
        (lambda path: path.write_text("poses"), "not an HDF5 file, or damaged"),
        (cut, "damaged"),
        (flip_bits, "damaged"),
        (drop_views, "damaged"),
        (damage_attribute("format", "other"), "no prepared poses"),
        (damage_attribute("version", 2), "version 2 of the format"),
        (damage_attribute("joints", ["Hip", "Head"]), "has 2 joints that are not the 17"),
        (put_nan, "clip S1/Walking 1: world_m holds NaN or infinite values, first in frame 1 of 4"),
    ],
)
def test_a_bad_file_is_named(tmp_path, damage, message):
    path = tmp_path / "p.h5"
    write(path, full_clip())
    damage(path)
    with pytest.raises(BadInput, match=message) as error:
        list(read_clips(path))
    assert str(error.value).startswith(str(path))
