import numpy as np
import pytest
from PIL import Image

from moga_st.data.video.published import read_image, resize, runs, windows_from_end, within
from moga_st.errors import BadInput


def slow_bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Half-pixel centres, edges repeated, nothing smoothed: one value at a time, as OpenCV documents it."""
    h, w = image.shape
    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y, x = (i + 0.5) * h / height - 0.5, (j + 0.5) * w / width - 0.5
            top, left = int(np.floor(y)), int(np.floor(x))
            for a, share_y in ((top, 1 - (y - top)), (top + 1, y - top)):
                for b, share_x in ((left, 1 - (x - left)), (left + 1, x - left)):
                    out[i, j] += image[min(max(a, 0), h - 1), min(max(b, 0), w - 1)] * share_y * share_x
    return out


def test_resize_is_opencvs_bilinear():
    image = np.random.default_rng(0).integers(0, 256, (12, 16), np.uint8)
    for height, width in ((16, 16), (7, 9), (24, 8)):
        got = resize(image[..., None], height, width, "bilinear")[..., 0]
        assert got.dtype == np.uint8
        assert np.abs(got - slow_bilinear(image, height, width)).max() <= 0.5 + 1e-4
    assert resize(image[..., None], 12, 16, "bicubic") is not None
    np.testing.assert_array_equal(resize(image[..., None], 12, 16, "bicubic")[..., 0], image)


def test_bicubic_goes_beyond_and_is_cut_off():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = 255
    got = resize(image, 16, 16, "bicubic")
    assert got.min() == 0
    assert got.max() == 255  # an overshoot of 255 would have become a small number


def test_runs():
    assert [list(r) for r in ([1, 2, 3][s] for s in runs([1, 2, 3]))] == [[1, 2, 3]]
    numbers = [1, 2, 3, 7, 8, 20]
    assert [numbers[s] for s in runs(numbers)] == [[1, 2, 3], [7, 8], [20]]
    assert [[5, 10, 16][s] for s in runs([5, 10, 16], 5)] == [[5, 10], [16]]
    assert list(runs([])) == []


def slow_windows(count: int, length: int, step: int) -> list[int]:
    """As the field's loaders walk: an index goes from the last frame backwards."""
    found, index = [], count - 1
    while index >= length - 1:
        found.append(index - length + 1)
        index -= step
    return sorted(found)


@pytest.mark.parametrize(
    ("count", "length", "step"), [(95, 30, 30), (95, 30, 3), (30, 30, 30), (29, 30, 3), (11, 11, 11)]
)
def test_windows_from_the_end(count, length, step):
    assert windows_from_end(count, length, step) == slow_windows(count, length, step)


def test_within(tmp_path):
    (tmp_path / "set" / "train").mkdir(parents=True)
    assert within(tmp_path, "set", "train") == within(tmp_path / "set", "set", "train") == tmp_path / "set"
    with pytest.raises(BadInput, match=r"has no test, its folder set neither"):
        within(tmp_path, "set", "test")


def test_images_become_rgb(tmp_path):
    Image.new("L", (4, 3), 77).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png").tolist() == np.full((3, 4, 3), 77).tolist()
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"bad\.png: cannot be read as an image"):
        read_image(tmp_path / "bad.png")
