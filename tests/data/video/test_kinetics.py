import imageio.v3 as iio
import numpy as np
import pytest

from moga_st.data.video import kinetics
from moga_st.errors import BadInput
from tests.data.video.prepared import read

HEADER = "label,youtube_id,time_start,time_end,split\n"


def write_video(path, frames, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    clip = np.zeros((frames, 48, 64, 3), np.uint8)
    clip[:] = (value + 4 * np.arange(frames))[:, None, None, None]
    iio.imwrite(path, clip, fps=25, codec="libx264", plugin="FFMPEG", macro_block_size=1, output_params=["-qp", "0"])


def test_listed_videos(tmp_path):
    root = tmp_path / "kinetics400"
    (root / "annotations").mkdir(parents=True)
    for split, names in (("train", "ab"), ("val", "cx"), ("test", "de")):
        lines = [f"juggling,{n}_id,{i},{i + 10},{split}\n" for i, n in enumerate(names)]
        (root / "annotations" / f"{split}.csv").write_text(HEADER + "".join(lines))
    write_video(root / "train" / "a_id_000000_000010.mp4", 50)
    write_video(root / "train" / "b_id_000001_000011.mp4", 21)  # eleven frames of every second one
    write_video(root / "val" / "c_id_000000_000010.mp4", 40, value=20)
    write_video(root / "test" / "d_id_000000_000010.mp4", 40)
    write_video(root / "test" / "e_id_000001_000011.mp4", 9)
    with pytest.warns(UserWarning, match="left out"):
        kinetics.prepare(tmp_path, tmp_path / "out.h5", size=32, train_frames=16)
    _, parts = read(tmp_path / "out.h5")
    assert parts["train"].name == ["train/a_id_000000_000010", "train/b_id_000001_000011"]
    assert parts["train"].first == [0, 16, 27]
    values = parts["train"].frames.reshape(27, -1).mean(1)
    expected = [*(4 * i for i in range(8, 40, 2)), *(4 * i for i in range(0, 21, 2))]  # a: the middle 16 of 25
    np.testing.assert_allclose(values, expected, atol=3)
    assert parts["val"].first == [0, 8]  # the other one is not there
    assert parts["val"].start == [0]
    np.testing.assert_allclose(parts["val"].frames.reshape(8, -1).mean(1), [20 + 8 * i for i in range(8)], atol=3)
    assert parts["test"].name == ["test/d_id_000000_000010"]  # five frames are no window


def test_lists_that_are_none(tmp_path):
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "train.csv"
    for split in ("val", "test"):
        (tmp_path / "annotations" / f"{split}.csv").write_text(HEADER)
    for text, match in (
        ("a,b\n1,2\n", "has no column youtube_id, time_start"),
        (HEADER + "x,../../a,0,10,train\n", "line 2 does not name a video"),
        (HEADER + "x,a,zero,10,train\n", "line 2 does not name a video"),
        (HEADER + "x,a,0,10,train\n", "holds none of the 1 listed videos"),
    ):
        path.write_text(text)
        with pytest.raises(BadInput, match=match):
            kinetics.prepare(tmp_path, tmp_path / "out.h5")


def test_square_takes_the_middle():
    frame = np.zeros((10, 30, 3), np.uint8)
    frame[:, 10:20] = 200
    assert kinetics.square(frame, 20)[:, 1:-1].min() == 200
    assert kinetics.square(frame, 20).shape == (20, 20, 3)
    assert kinetics.square(frame.transpose(1, 0, 2), 7).shape == (7, 7, 3)
