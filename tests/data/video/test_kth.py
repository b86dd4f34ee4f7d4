from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from moga_st.data.video import kth
from moga_st.errors import BadInput
from tests.data.video.prepared import read


def shade(person: int, number: int) -> int:
    return (person * 5 + number * 2) % 256


def write_images(root: Path, action: str, person: int, numbers: list[int]) -> None:
    folder = root / action / f"person{person:02d}_{action}_d1_uncomp"
    folder.mkdir(parents=True)
    for i in numbers:
        pixels = np.zeros((6, 8, 3), np.uint8)
        pixels[..., 0] = shade(person, i)  # the channel that the field's loaders take
        Image.fromarray(pixels).save(folder / f"image_{i:04d}_{action}.png")


def test_images(tmp_path):
    root = tmp_path / "kth"
    write_images(root, "boxing", 1, [*range(1, 8), *range(20, 26)])
    write_images(root, "boxing", 16, list(range(1, 7)))
    write_images(root, "boxing", 17, [*range(1, 10), *range(30, 37), 40, 41])
    write_images(root, "running", 25, list(range(5, 14)))
    kth.prepare(tmp_path, tmp_path / "out.h5", size=4, window=4)
    about, parts = read(tmp_path / "out.h5")
    assert list(about["channels"]) == ["grey"]
    assert about["fps"] == 25
    assert not about["standardise"]
    assert parts["train"].name == ["person01_boxing_d1/0001", "person01_boxing_d1/0020"]
    assert parts["train"].first == [0, 7, 13]
    assert parts["train"].start is None  # every window trains
    assert parts["val"].name == ["person16_boxing_d1/0001"]
    assert parts["val"].start == [2]
    # clips of nine, seven and nine frames; 40-41 is too short for any window
    assert parts["test"].name == ["person17_boxing_d1/0001", "person17_boxing_d1/0030", "person25_running_d1/0005"]
    assert parts["test"].first == [0, 9, 16, 25]
    assert parts["test"].start == [1, 5, 9 + 3, 16 + 2, 16 + 5]  # no overlap; running every third from the end
    frames = parts["test"].frames
    assert frames.shape == (25, 4, 4, 1)
    assert frames.dtype == np.uint8
    values = [*(shade(17, i) for i in [*range(1, 10), *range(30, 37)]), *(shade(25, i) for i in range(5, 14))]
    assert frames.reshape(25, -1).min(1).tolist() == frames.reshape(25, -1).max(1).tolist() == values


def test_windows_are_the_field_loaders():
    """Their walk over all frames of all persons at once, with its rules written out."""
    videos = [("boxing", [*range(1, 40), *range(60, 130)]), ("jogging", [*range(3, 50), *range(51, 90)])]
    seq, frames, expected = 30, [], []
    for mark, (action, numbers) in enumerate(videos):
        frames += [(mark, action, n) for n in numbers]
    index = len(frames) - 1
    while index >= seq - 1:
        (a, action, last), (b, _, first) = frames[index], frames[index - seq + 1]
        if a == b and last - first == seq - 1:
            expected.append(index - seq + 1)
            index -= seq - 1 if action == "boxing" else 2
        index -= 1
    got, before = [], 0
    for action, numbers in videos:
        for run in kth.runs(numbers):
            got += [before + run.start + s for s in kth.window_starts(action, run.stop - run.start, seq)]
        before += len(numbers)
    assert got == sorted(expected)


def test_videos_with_the_list_of_sequences(tmp_path):
    frames = np.stack([np.full((32, 48, 3), 20 + 8 * i, np.uint8) for i in range(20)])
    for person in (2, 15, 20):
        path = tmp_path / "videos" / f"person{person:02d}_walking_d2_uncomp.avi"
        path.parent.mkdir(exist_ok=True)
        iio.imwrite(path, frames, fps=25, codec="png", plugin="FFMPEG", macro_block_size=1)
    (tmp_path / "00sequences.txt").write_text(
        "frames of KTH\n\nperson02_walking_d2\t\tframes\t1-6, 9-14\nperson15_walking_d2  frames  3-9\n"
        "person20_walking_d2\tframes\t1-4, 5-10, 12-25, 30-40\nperson21_walking_d2\tframes\t1-4\n"
    )
    kth.prepare(tmp_path, tmp_path / "out.h5", size=16, window=5)
    _, parts = read(tmp_path / "out.h5")
    assert parts["train"].name == ["person02_walking_d2/0001", "person02_walking_d2/0009"]
    assert parts["test"].name == ["person20_walking_d2/0001", "person20_walking_d2/0012"]
    assert parts["test"].first == [0, 10, 19]  # the video ends with frame 20, the list later
    assert parts["test"].start == [0, 5, 10 + 4]
    means = parts["test"].frames.reshape(19, -1).mean(1)
    np.testing.assert_allclose(means, [20 + 8 * (n - 1) for n in [*range(1, 11), *range(12, 21)]], atol=2)
    assert parts["val"].first == [0, 7]


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(BadInput, match="has neither folders of images like boxing/"):
        kth.prepare(tmp_path, tmp_path / "out.h5")
    (tmp_path / "person01_boxing_d1_uncomp.avi").write_bytes(b"")
    with pytest.raises(BadInput, match=r"lacks 00sequences\.txt"):
        kth.prepare(tmp_path, tmp_path / "out.h5")
    (tmp_path / "00sequences.txt").write_text("nothing")
    with pytest.raises(BadInput, match="lists no frames"):
        kth.prepare(tmp_path, tmp_path / "out.h5")
    (tmp_path / "00sequences.txt").write_text("person01_boxing_d1 frames 1-99999999\n")
    with pytest.raises(BadInput, match=r"lists frame 99,999,999 of person01_boxing_d1, expected at most 100,000"):
        kth.prepare(tmp_path, tmp_path / "out.h5")
    (tmp_path / "00sequences.txt").write_text("person02_boxing_d1 frames 1-9\n")
    with pytest.raises(BadInput, match=r"person01_boxing_d1_uncomp\.avi: 00sequences\.txt does not list it"):
        kth.prepare(tmp_path, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()
