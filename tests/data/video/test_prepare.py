import os
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from moga_st.data.video import prepared_clips
from moga_st.data.video.prepare import ClipsOptions, clips_in, prepare_clips
from moga_st.data.video.prepared_clips import SPLITS, describe
from moga_st.errors import BadInput
from moga_st.tasks.clips import ClipsConfig
from moga_st.tasks.task import Setting

RNG = np.random.default_rng(0)


def save(path, frames):
    np.save(path, frames)
    return frames


def parts(path) -> tuple[dict[str, Any], dict[str, Any]]:
    with h5py.File(path) as file:
        root: Any = file
        read = {s: (root[s]["frames"][:], root[s]["first"][:], root[s]["name"].asstr()[:]) for s in SPLITS}
        return read, dict(file.attrs)


def test_a_long_recording_is_split_by_time_with_a_gap(tmp_path):
    frames = save(tmp_path / "a.npy", RNG.integers(0, 256, (100, 6, 8), np.uint8))
    said = []
    prepare_clips(tmp_path / "a.npy", tmp_path / "o.h5", ClipsOptions(val=0.1, test=24, gap=3), said.append)
    read, about = parts(tmp_path / "o.h5")
    for split, first, stop in (("train", 0, 60), ("val", 63, 73), ("test", 76, 100)):
        np.testing.assert_array_equal(read[split][0][..., 0], frames[first:stop])
    np.testing.assert_allclose(about["mean"], frames[:60].mean() / 255, rtol=1e-12)
    assert said[0] == "1 clips, grey"
    assert "94 frames of 6x8, 1 channels, 0.0 MB" in said[1]
    assert "train: 1 clips, 60 frames" in describe(tmp_path / "o.h5")


def test_a_folder_is_split_by_file(tmp_path):
    source = tmp_path / "clips"
    (source / "more").mkdir(parents=True)
    (source / "README.txt").write_text("where they come from")
    clips = {f"{i}.npy": save(source / f"{i}.npy", RNG.integers(0, 256, (4 + i, 6, 8, 3), np.uint8)) for i in range(11)}
    clips["more/frames"] = RNG.integers(0, 256, (5, 6, 8, 3), np.uint8)
    (source / "more" / "frames").mkdir()
    for i, frame in enumerate(clips["more/frames"]):
        Image.fromarray(frame).save(source / "more" / "frames" / f"{i}.png")
    prepare_clips(source, tmp_path / "o.h5", ClipsOptions(val=0.2, test=2))
    read, _ = parts(tmp_path / "o.h5")
    assert [len(read[s][2]) for s in SPLITS] == [8, 2, 2]
    assert sorted(name for s in SPLITS for name in read[s][2]) == sorted(clips)
    for frames, first, names in read.values():
        for i, name in enumerate(names):
            np.testing.assert_array_equal(frames[first[i] : first[i + 1]], clips[name])


def test_size_rate_and_grey(tmp_path):
    frames = [Image.fromarray(np.full((8, 12, 3), (20 * i, 10, 0), np.uint8)) for i in range(12)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50)
    options = ClipsOptions(size=(4, 6), fps=10, grey=True, val=0, test=2, gap=0)
    prepare_clips(tmp_path / "a.gif", tmp_path / "o.h5", options)
    read, about = parts(tmp_path / "o.h5")
    red = np.arange(0, 12, 2) * 20  # at 10 of 20 frames a second
    expected = np.round(0.2125 * red + 0.7154 * 10)
    got = np.concatenate([read["train"][0], read["test"][0]])
    assert got.shape == (6, 4, 6, 1)
    np.testing.assert_allclose(got[:, 2, 3, 0], expected, atol=1)
    assert (about["fps"], list(about["channels"])) == (10, ["grey"])


def test_fields_keep_names_units_and_times(tmp_path):
    xarray = pytest.importorskip("xarray")
    u, v = RNG.normal(5, 2, (2, 40, 4, 6)).astype(np.float32)
    u[3, 0, 0] = np.nan
    dims, unit = ("time", "lat", "lon"), {"units": "m/s"}
    times = np.datetime64("2000-01-01", "ns") + np.arange(40) * np.timedelta64(1, "D")
    data = xarray.Dataset({"u": (dims, u, unit), "v": (dims, v, unit)}, coords={"time": times})
    data.to_netcdf(tmp_path / "wind.nc")
    with pytest.raises(BadInput, match=r"wind\.nc.*frame 3 holds NaN"):
        prepare_clips(tmp_path / "wind.nc", tmp_path / "o.h5")
    assert not (tmp_path / "o.h5").exists()
    options = ClipsOptions(variables=("u", "v"), fill=0.0, val=8, test=12, gap=1, licence="CC0")
    prepare_clips(tmp_path / "wind.nc", tmp_path / "o.h5", options)
    read, about = parts(tmp_path / "o.h5")
    np.testing.assert_array_equal(read["test"][0], np.stack([u, v], -1)[28:])
    assert read["train"][0].shape == (18, 4, 6, 2)
    assert read["train"][0][3, 0, 0, 0] == 0
    assert (list(about["channels"]), about["unit"], about["licence"]) == (["u", "v"], "m/s", "CC0")
    assert about["fps"] == pytest.approx(1 / 86400)
    with h5py.File(tmp_path / "o.h5") as file:
        dates: Any = file["test/time_s"]
        np.testing.assert_array_equal(dates, (times[28:] - np.datetime64(0, "s")) / np.timedelta64(1, "s"))
    assert bool(about["standardise"])


def test_floats_outside_of_images_want_a_unit(tmp_path):
    """Taken for images, they would be scored after clipping to [0, 1]."""
    values = np.random.default_rng(0).normal(3, 2, (60, 8, 8)).astype(np.float32)
    np.save(tmp_path / "field.npy", values)
    with pytest.raises(BadInput, match=r"field.npy: floats must be in \[0, 1\].*or give their unit, 1 for numbers"):
        prepare_clips(tmp_path / "field.npy", tmp_path / "out.h5", say=lambda _: None)
    assert [p.name for p in tmp_path.iterdir()] == ["field.npy"]
    options = ClipsOptions(unit="1", val=10, test=10, gap=0)
    prepare_clips(tmp_path / "field.npy", tmp_path / "out.h5", options, lambda _: None)
    task = ClipsConfig(file="out.h5", frames_in=2, frames_out=2).build(Setting(torch.device("cpu"), tmp_path))
    assert task.spec.unit == "1"
    assert (task.spec.mean[0], task.spec.std[0]) == pytest.approx((values[:40].mean(), values[:40].std()), rel=1e-4)
    np.save(tmp_path / "image.npy", (values > 3).astype(np.float32))
    said = []
    prepare_clips(tmp_path / "image.npy", tmp_path / "image.h5", ClipsOptions(val=10, test=10, gap=0), said.append)
    assert "floats are taken for images in [0, 1]" in said[0]
    np.save(tmp_path / "bytes.npy", np.zeros((60, 8, 8), np.uint8))
    with pytest.raises(BadInput, match="images of 8 bits"):
        prepare_clips(tmp_path / "bytes.npy", tmp_path / "bytes.h5", options, lambda _: None)


@pytest.mark.parametrize("content", [bytes(range(256)) * 4, b"a text under a clip's name\n"])
def test_bad_files_stop_it_or_are_left_out(tmp_path, content):
    source = tmp_path / "clips"
    source.mkdir()
    for i in range(3):
        save(source / f"{i}.npy", RNG.integers(0, 256, (30, 6, 8), np.uint8))
    (source / "bad.mp4").write_bytes(content)
    (source / "readme.txt").write_text("no clip, and nothing to speak of")
    options = ClipsOptions(val=5, test=5, gap=0)
    with pytest.raises(BadInput, match=r"bad\.mp4: .*have bad files skipped"):
        prepare_clips(source, tmp_path / "o.h5", options)
    said = []
    prepare_clips(source, tmp_path / "o.h5", replace(options, bad="skip"), said.append)
    assert ["left out" in line for line in said].count(True) == 1
    assert "left out" in said[0]
    assert "bad.mp4" in said[0]
    assert [len(parts(tmp_path / "o.h5")[0][s][2]) for s in SPLITS] == [3, 3, 3]


def test_what_cannot_become_one_file_is_refused(tmp_path, monkeypatch):
    source = tmp_path / "clips"
    source.mkdir()
    save(source / "a.npy", RNG.integers(0, 256, (50, 6, 8), np.uint8))
    save(source / "b.npy", RNG.integers(0, 256, (50, 8, 8), np.uint8))
    with pytest.raises(
        BadInput, match=r"b\.npy: 8 x 8 pixels \(height x width\), but .*a\.npy has 6 x 8; give one size"
    ):
        prepare_clips(source, tmp_path / "o.h5")
    with pytest.raises(BadInput, match="does not say its rate"):
        prepare_clips(source / "a.npy", tmp_path / "o.h5", ClipsOptions(fps=5))
    with pytest.raises(BadInput, match="too few clips or frames for a part train"):
        prepare_clips(source / "a.npy", tmp_path / "o.h5", ClipsOptions(val=30, test=30))
    monkeypatch.setattr(prepared_clips.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(OSError, match=r"GB are needed, 0\.00 GB are free"):
        prepare_clips(source / "a.npy", tmp_path / "o.h5")
    assert not (tmp_path / "o.h5").exists()


def test_a_folder_that_links_lead_back_to_is_looked_at_once(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "a" / "b"):
        np.save(folder / "clip.npy", np.zeros((4, 8, 8), np.uint8))
    for name in "xyz":  # followed without end, each would double what is found
        (tmp_path / "a" / name).symlink_to(tmp_path)
    assert list(clips_in(tmp_path)) == [tmp_path / "a" / "b" / "clip.npy", tmp_path / "clip.npy"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_a_pipe_among_clips_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "clip.npy")
    with pytest.raises(BadInput, match=r"clip\.npy: is a device, pipe or socket"):
        list(clips_in(tmp_path))
