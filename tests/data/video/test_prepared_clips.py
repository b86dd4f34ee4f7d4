from typing import Any

import h5py
import numpy as np
import pytest

from moga_st.data.video import prepared_clips
from moga_st.data.video.prepared_clips import Split, read_attributes, write_clips
from moga_st.errors import BadInput

RNG = np.random.default_rng(0)
CLIPS = {name: RNG.integers(0, 256, (t, 6, 8, 3), np.uint8) for name, t in (("a", 7), ("b", 5), ("c", 9), ("d", 4))}
SPLIT: dict[str, Split] = {"a": "train", "b": "train", "c": "val", "d": "test"}
RGB = ("red", "green", "blue")


def opened(path) -> Any:
    return h5py.File(path)


def write(path, clips=CLIPS, **options):
    options = {"source": "made here", "licence": "none", "channels": RGB, "fps": 10.0, **options}
    with write_clips(path, **options) as writer:
        for name, frames in clips.items():
            assert writer.add_clip(SPLIT[name], name, iter(frames)) == len(frames)
    return path


def test_the_file_has_the_layout_that_its_module_says(tmp_path):
    path = write(tmp_path / "a.h5", conventions={"ssim": "of grey"})
    with opened(path) as file:
        np.testing.assert_array_equal(file["train/frames"], np.concatenate([CLIPS["a"], CLIPS["b"]]))
        assert file["train/first"][:].tolist() == [0, 7, 12]
        assert file["train/name"].asstr()[:].tolist() == ["a", "b"]
        np.testing.assert_array_equal(file["test/frames"], CLIPS["d"])
        assert "start" not in file["train"]
        training = np.concatenate([CLIPS["a"], CLIPS["b"]]) / 255
        np.testing.assert_allclose(file.attrs["mean"], training.mean((0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(file.attrs["std"], training.std((0, 1, 2)), rtol=1e-12)
        assert (file.attrs["fps"], file.attrs["unit"], bool(file.attrs["standardise"])) == (10, "", False)
        assert list(file.attrs["channels"]) == list(RGB)
    assert read_attributes(path)["conventions"] == {"ssim": "of grey"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_floats_are_float32_and_standardised_starts_are_of_the_whole_split(tmp_path):
    clips = [RNG.normal(5, 2, (t, 4, 4)) for t in (6, 5)]
    with write_clips(tmp_path / "a.h5", "x", "none", ["t2m"], unit="K") as writer:
        writer.add_clip("train", "a", clips[0], starts=[0, 2], time_s=np.arange(6.0))
        writer.add_clip("train", "b", clips[1], starts=[1], time_s=np.arange(5.0) * 2)
    with opened(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["train/frames"][..., 0], np.concatenate(clips).astype(np.float32))
        assert file["train/start"][:].tolist() == [0, 2, 7]
        assert file["train/time_s"][:].tolist() == [0, 1, 2, 3, 4, 5, 0, 2, 4, 6, 8]
        assert file["val/frames"].shape == (0, 4, 4, 1)
        assert bool(file.attrs["standardise"])
        assert np.isnan(file.attrs["fps"])
        np.testing.assert_allclose(file.attrs["std"], [np.concatenate(clips).std()], rtol=1e-6)


def test_a_bar_says_how_far_it_is(tmp_path, capsys):
    with write_clips(tmp_path / "a.h5", "x", "none", RGB, frames=2 * len(CLIPS["a"])) as writer:
        writer.add_clip("train", "a", CLIPS["a"])
        writer.add_clip("test", "b", CLIPS["a"])
    said = capsys.readouterr().err
    assert "a.h5:   0%" in said
    assert f"/{2 * len(CLIPS['a'])} [" in said


def test_a_clip_that_breaks_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared_clips, "BLOCK", 100)  # every frame is on disk before the next comes

    def breaks():
        yield from CLIPS["b"]
        raise BadInput("b.mp4: damaged")

    def another_size():
        yield CLIPS["b"][0, 1:]
        raise BadInput("z.mp4: of another size")

    with write_clips(tmp_path / "a.h5", "x", "none", RGB) as writer:
        with pytest.raises(BadInput, match="of another size"):
            writer.add_clip("train", "z", another_size())
        writer.add_clip("train", "a", CLIPS["a"])
        with pytest.raises(BadInput, match="damaged"):
            writer.add_clip("train", "b", breaks())
        writer.add_clip("train", "b", CLIPS["c"])
    again = {"a": CLIPS["a"], "b": CLIPS["c"]}
    with opened(tmp_path / "a.h5") as file, opened(write(tmp_path / "b.h5", again)) as straight:
        np.testing.assert_array_equal(file["train/frames"], straight["train/frames"])
        for name in ("mean", "std", "fingerprint"):
            np.testing.assert_array_equal(file.attrs[name], straight.attrs[name])


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "clip b: holds no frames"),
        ([CLIPS["b"][0], CLIPS["b"][1][:3]], r"clip b: frame 1 is uint8 \(3, 8, 3\), but those before are"),
        ([np.full((6, 8, 3), np.nan)], "clip b: frame 0 holds NaN"),
        ([CLIPS["b"][0] / 255], r"frame 0 is float32"),
        ([CLIPS["b"][0].astype(int)], "of type int64, expected uint8 or floats"),
        ([CLIPS["b"][0][..., :2]], r"shape \(6, 8, 2\), expected \(h, w, 3\)"),
    ],
)
def test_wrong_frames_are_named_and_an_older_file_stays(tmp_path, frames, message):
    (tmp_path / "a.h5").write_text("older")
    with pytest.raises(BadInput, match=message):
        write(tmp_path / "a.h5", {"a": CLIPS["a"], "b": frames})
    assert (tmp_path / "a.h5").read_text() == "older"
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_what_no_file_can_hold_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(BadInput, match="no clips for training"):
        write(path, {"c": CLIPS["c"]})
    with write_clips(path, "x", "none", RGB) as writer:
        writer.add_clip("train", "a", CLIPS["a"])
        for name, options, message in (
            ("a", {}, "clip a: comes twice"),
            ("b", {"starts": [5]}, "start outside"),
            ("b", {"starts": [2]}, "either all or none"),
            ("b", {"time_s": [0, 1]}, "either all or none"),
        ):
            with pytest.raises(BadInput, match=message):
                writer.add_clip("test" if message == "start outside" else "train", name, CLIPS["b"], **options)
