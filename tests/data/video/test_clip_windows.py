import os
import threading

import h5py
import numpy as np
import pytest
import torch

from moga_st.data.video.clip_windows import ClipWindows
from moga_st.data.video.prepared_clips import write_clips
from moga_st.errors import BadInput

RNG = np.random.default_rng(0)
TRAIN = [RNG.integers(0, 256, (t, 6, 8, 2), np.uint8) for t in (7, 4, 9)]  # the second is too short
TEST = RNG.integers(0, 256, (11, 6, 8, 2), np.uint8)


def prepared(path, **options):
    with write_clips(path, "made here", "none", ("u", "v"), fps=5, **options) as writer:
        for i, clip in enumerate(TRAIN):
            writer.add_clip("train", f"{i}", clip)
            writer.add_clip("val", f"v{i}", clip[:, ::-1])
        writer.add_clip("test", "t", TEST)
    return path


def by_hand(clips, t, step):
    return [c[i : i + t].transpose(0, 3, 1, 2) for c in clips for i in range(0, len(c) - t + 1, step)]


def test_windows_are_those_of_the_clips(tmp_path):
    data = ClipWindows(prepared(tmp_path / "a.h5"), 3, 2)
    expected = by_hand([TEST], 5, 2)
    assert (data.count("train"), data.count("val"), data.count("test")) == (3 + 5, 3 + 5, 4)
    got = data.fetch("test", np.arange(4))
    assert got.dtype == torch.uint8
    np.testing.assert_array_equal(got, expected)
    seen = data.frames("test", torch.arange(4), got)
    np.testing.assert_allclose(seen, np.stack(expected) / 255, rtol=1e-6)
    assert (data.fps, data.channels, data.size) == (5, ("u", "v"), (6, 8))
    assert data.facts["parts"] == "train 3 clips, 8 windows, val 3 clips, 8 windows, test 1 clips, 4 windows"


def test_training_shows_each_window_once_a_round_in_an_order_by_seed(tmp_path):
    path = prepared(tmp_path / "a.h5")
    data, expected = ClipWindows(path, 3, 2, seed=1), by_hand(TRAIN, 5, 1)
    order = []
    for first in (0, 8, 16):  # three rounds
        got = data.fetch("train", np.arange(first, first + 8)).numpy()
        order.append([next(i for i, e in enumerate(expected) if (e == g).all()) for g in got])
    assert [sorted(o) for o in order] == [list(range(8))] * 3
    assert order[0] != order[1] != order[2]
    # pure functions of the number: any batch, in any order, across a round's end
    np.testing.assert_array_equal(data.fetch("train", np.array([9, 7])), [expected[order[1][1]], expected[order[0][7]]])
    other = ClipWindows(path, 3, 2, seed=2).fetch("train", np.arange(8))
    assert not np.array_equal(other, np.stack([expected[i] for i in order[0]]))


def test_listed_windows_are_taken(tmp_path):
    with write_clips(tmp_path / "a.h5", "x", "none", ("u", "v")) as writer:
        writer.add_clip("train", "a", TRAIN[0], starts=[2])
        writer.add_clip("train", "b", TRAIN[2], starts=[4, 0])
    data = ClipWindows(tmp_path / "a.h5", 3, 2)
    assert (data.count("train"), data.count("test")) == (3, 0)
    windows = {w.tobytes() for w in data.fetch("train", np.arange(3)).contiguous().numpy()}
    listed = [TRAIN[0][2:7], TRAIN[2][4:9], TRAIN[2][0:5]]
    assert windows == {np.ascontiguousarray(w.transpose(0, 3, 1, 2)).tobytes() for w in listed}
    with pytest.raises(BadInput, match="lists 3 windows, of which 2 are shorter than 6 frames"):
        ClipWindows(tmp_path / "a.h5", 3, 3)


def test_fields_are_standardised_by_the_training_part(tmp_path):
    fields = RNG.normal((280, 5), (10, 2), (20, 4, 5, 2)).astype(np.float32)
    with write_clips(tmp_path / "a.h5", "x", "none", ("t", "u")) as writer:
        writer.add_clip("train", "a", fields)
    data = ClipWindows(tmp_path / "a.h5", 19, 1)
    seen = data.frames("train", torch.arange(1), data.fetch("train", np.arange(1))).double()
    torch.testing.assert_close(seen.mean((0, 1, 3, 4)), torch.zeros(2).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std((0, 1, 3, 4), correction=0), torch.ones(2).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("system", ["posix", "Windows"])
def test_threads_read_the_same(tmp_path, monkeypatch, system):
    if system == "Windows":  # it cannot read at a place without going there
        monkeypatch.delattr(os, "preadv")
    data = ClipWindows(prepared(tmp_path / "a.h5"), 3, 2)
    got = {}

    def read(i):
        got[i] = [data.fetch("train", np.arange(4) + k).clone() for k in range(30)]

    threads = [threading.Thread(target=read, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in (1, 2):
        assert all(torch.equal(a, b) for a, b in zip(got[0], got[i], strict=True))


def test_files_that_cannot_serve_are_named(tmp_path):
    path = prepared(tmp_path / "a.h5")
    with pytest.raises(BadInput, match=r"a\.h5: no clip of train has 8 \+ 2 frames, the longest has 9"):
        ClipWindows(path, 8, 2)
    with pytest.raises(BadInput, match=r"none\.h5: no such file"):
        ClipWindows(tmp_path / "none.h5", 3, 2)
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BadInput, match=r"cut\.h5: not an HDF5 file, or damaged"):
        ClipWindows(tmp_path / "cut.h5", 3, 2)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"] = "moga_st poses"
    with pytest.raises(BadInput, match="no prepared clips"):
        ClipWindows(tmp_path / "other.h5", 3, 2)
