import numpy as np
import pytest
from PIL import Image

from moga_st.data.video import human36m_video
from moga_st.errors import BadInput
from tests.data.video.prepared import read

S1, S8, S9 = "images/S1_Eating.54138969_", "images/S8_Walking.60457274_", "images/S9_Posing.55011271_"


def write(root, lists):
    root.mkdir(parents=True, exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    for name, lines in lists.items():
        (root / name).write_text("".join(f"{p},{b},{b + 40}\n" for p, b in lines))
        for prefix, begin in lines:
            for i in range(begin, begin + 40, 5):
                path = root / f"{prefix}{i:06d}.jpg"
                if not path.exists():
                    # a coloured square: which channel is which must survive
                    Image.fromarray(np.full((16, 16, 3), (i % 200, 40, 220), np.uint8)).save(path, quality=95)


def test_listed_windows_and_no_other_images(tmp_path):
    root = tmp_path / "human"
    write(
        root,
        {
            "train.txt": [(S1, 1), (S1, 6), (S1, 7), (S1, 100), (S8, 2)],
            "test.txt": [(S9, 11), (S9, 16), (S9, 36), (S9, 61)],
        },
    )
    human36m_video.prepare(tmp_path, tmp_path / "out.h5", size=8)
    about, parts = read(tmp_path / "out.h5")
    assert list(about["channels"]) == ["red", "green", "blue"]
    assert about["fps"] == 10
    assert parts["train"].name == [
        "train/S1_Eating.54138969_000100",
        "train/S1_Eating.54138969_000001",
        "train/S1_Eating.54138969_000007",
    ]
    assert parts["train"].first == [0, 8, 17, 25]  # begins 1 and 6 share seven images
    assert parts["train"].start == [0, 8, 9, 17]
    assert parts["val"].name == ["val/S8_Walking.60457274_000002"]
    assert parts["val"].start == [0]
    # 11..71 by the first three windows; 61..96 goes on from there
    assert parts["test"].first == [0, 18]
    assert parts["test"].start == [0, 1, 5, 10]
    assert parts["test"].frames.shape == (18, 8, 8, 3)
    red, green, blue = parts["test"].frames.mean((1, 2)).T
    np.testing.assert_allclose(red, [n % 200 for n in range(11, 101, 5)], atol=3)
    np.testing.assert_allclose(green, 40, atol=3)
    np.testing.assert_allclose(blue, 220, atol=3)


def test_every_window_of_any_list_is_eight_images_five_apart():
    made = np.random.default_rng(0)
    begins = sorted(set(made.integers(0, 400, 60).tolist()))
    clips = list(human36m_video.clips_of({"p_": begins}))
    windows = [clip.numbers[s : s + 8] for clip in clips for s in clip.starts]
    assert sorted(w[0] for w in windows) == begins
    assert all(w == list(range(w[0], w[0] + 40, 5)) for w in windows)
    stored = [n for clip in clips for n in clip.numbers]
    assert len(stored) == len(set(stored))
    assert set(stored) == {b + 5 * k for b in begins for k in range(8)}


def test_bad_lists_are_named(tmp_path):
    (tmp_path / "test.txt").write_text(f"{S9},1,41\n")
    for text, match in (
        ("images/S1_x_;1;41\n", r"train.txt: line 1 is 'images/S1_x_;1;41'"),
        (f"{S1},1,41\n../../etc/x_,1,41\n", r"train.txt: line 2"),
        ("\n", "lists no windows"),
        (f"{S1},1,41\n", "lists no video of S8"),
    ):
        (tmp_path / "train.txt").write_text(text)
        with pytest.raises(BadInput, match=match):
            human36m_video.prepare(tmp_path, tmp_path / "out.h5")
    (tmp_path / "train.txt").write_text(f"{S1},1,41\n{S8},1,41\n")
    with pytest.raises(BadInput, match=r"S1_Eating.54138969_000001.jpg: no such file"):
        human36m_video.prepare(tmp_path, tmp_path / "out.h5")
