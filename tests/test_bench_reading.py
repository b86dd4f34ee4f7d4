"""Windows out of a prepared file and out of its videos: the same ones, and what is timed of them."""

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from moga_st import bench_reading
from moga_st.data.video.prepare import ClipsOptions, prepare_clips
from moga_st.errors import BadInput
from moga_st.tasks.clips import ClipsConfig
from moga_st.tasks.task import Setting


@pytest.fixture
def videos(tmp_path):
    """Two videos of 30 frames, 32 x 24 pixels, whose brightness is 8 times the frame's number."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        writer = imageio_ffmpeg.write_frames(str(folder / name), (32, 24), fps=25, quality=9, macro_block_size=2)
        writer.send(None)
        for i in range(30):
            writer.send(np.full((24, 32, 3), 8 * i, np.uint8))
        writer.close()
    return folder


def test_a_loader_draws_windows_of_the_same_videos(videos):
    windows = bench_reading.RandomWindows(videos, 6, (12, 16))
    starts = set()
    for i in range(8):
        window = windows[i]
        assert (window.shape, window.dtype) == ((6, 3, 12, 16), torch.uint8)
        level = window.double().mean((1, 2, 3)) / 8
        torch.testing.assert_close(level.diff(), torch.ones(5, dtype=torch.float64), atol=0.3, rtol=0)
        starts.add(round(level[0].item()))
    assert len(starts) > 3
    with pytest.raises(BadInput, match="no video in it has 31 frames"):
        bench_reading.RandomWindows(videos, 31, (12, 16))


def test_rows_say_what_is_read_and_how_long_training_waits(videos, tmp_path):
    options = ClipsOptions(size=(12, 16), split="time", val=8, test=8, gap=0)
    prepare_clips(videos, tmp_path / "clips.h5", options, lambda _: None)
    config = ClipsConfig(frames_in=4, frames_out=2)
    task = config.build(Setting(torch.device("cpu"), tmp_path, 0, 3))
    ours, theirs = bench_reading.loading(task, 3, videos)
    assert task.spec.target[0] == 2
    assert ours["ratio"] == pytest.approx(theirs["ms"] / ours["ms"])
    assert theirs["samples/s"] == pytest.approx(3e3 / theirs["ms"])
    assert [row["what"] for row in bench_reading.loading(task, 3, None)] == [ours["what"]]
    seen = []
    row = bench_reading.waiting(task, 3, lambda number, fetched: seen.append((number, fetched[0])), 3)
    assert [number for number, _ in seen] == [0, 1, 2, 3]
    for number, fetched in seen:
        expected = task.fetch(number)
        assert expected is not None
        assert torch.equal(fetched, expected)
    assert 0 <= row["ratio"] <= 1
