import imageio.v3 as iio
import numpy as np
import pytest

from moga_st.config import BadInput
from moga_st.data.clips import read_clip

# imageio leaves the pipes of its ffmpeg process to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 16, 24), np.uint8)


@pytest.mark.parametrize(
    "array",
    [GREY, GREY[:, None], GREY[..., None], GREY.astype(np.float64) / 255, np.repeat(GREY[..., None], 3, -1)],
)
def test_every_npy_layout_gives_the_same_clip(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    clip = read_clip(tmp_path / "a.npy", 1, (16, 24))
    assert clip.dtype == np.float32
    np.testing.assert_allclose(clip[:, 0], GREY / 255, atol=1e-6)


def test_colour_becomes_luminance_and_grey_is_repeated(tmp_path):
    colour = RNG.random((2, 8, 8, 3))
    np.save(tmp_path / "c.npy", colour)
    luminance = colour @ [0.2125, 0.7154, 0.0721]
    np.testing.assert_allclose(read_clip(tmp_path / "c.npy", 1, (8, 8))[:, 0], luminance, atol=1e-6)
    np.testing.assert_allclose(read_clip(tmp_path / "c.npy", 3, (8, 8)), colour.transpose(0, 3, 1, 2), atol=1e-6)
    np.save(tmp_path / "g.npy", GREY)
    rgb = read_clip(tmp_path / "g.npy", 3, (16, 24))
    np.testing.assert_array_equal(rgb[:, 0], rgb[:, 2])


def test_resizing_keeps_brightness(tmp_path):
    ramp = np.broadcast_to(np.linspace(0, 1, 64), (2, 48, 64))
    np.save(tmp_path / "r.npy", ramp)
    small = read_clip(tmp_path / "r.npy", 1, (16, 16))
    np.testing.assert_allclose(small[0, 0, 8, 1:-1], np.linspace(0, 1, 64).reshape(16, 4).mean(1)[1:-1], atol=0.02)


def test_gif_and_mp4_are_read_back(tmp_path):
    frames = np.zeros((6, 32, 48), np.uint8)
    for i in range(6):
        frames[i, 8:24, 6 * i : 6 * i + 16] = 255
    iio.imwrite(tmp_path / "a.gif", frames, loop=0)
    np.testing.assert_allclose(read_clip(tmp_path / "a.gif", 1, (32, 48))[:, 0], frames / 255, atol=1e-6)
    iio.imwrite(tmp_path / "a.mp4", np.repeat(frames[..., None], 3, -1), plugin="FFMPEG", fps=5, macro_block_size=1)
    video = read_clip(tmp_path / "a.mp4", 1, (32, 48))
    assert len(video) == 6
    assert np.abs(video[:, 0] - frames / 255).mean() < 0.03  # lossy


def test_equal_frames_merged_by_a_gif_encoder_come_apart_again(tmp_path):
    frames = np.zeros((6, 8, 8), np.uint8)
    frames[2:5] = 255  # three equal frames, which Pillow writes as one
    iio.imwrite(tmp_path / "a.gif", frames, loop=0, duration=100)
    np.testing.assert_allclose(read_clip(tmp_path / "a.gif", 1, (8, 8))[:, 0], frames / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((3, 4, 4), np.nan), "frame 0 holds NaN"),
        (np.concatenate([np.zeros((2, 4, 4)), np.full((1, 4, 4), np.inf)]), "frame 2 holds NaN or infinite"),
        (np.full((3, 4, 4), 200.0), r"floats must be in \[0, 1\], got 200 to 200"),
        (np.zeros((3, 4, 4), np.int32), "expected uint8, or floats"),
        (np.zeros((4, 4), np.uint8), r"got \(4, 4\)"),
        (np.zeros((2, 5, 4, 4), np.uint8), "expected one clip of shape"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(BadInput, match=rf"a\.npy: .*{message}"):
        read_clip(tmp_path / "a.npy", 1, (4, 4))


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"none\.npy: no such clip"):
        read_clip(tmp_path / "none.npy", 1, (4, 4))
    for name in ("junk.npy", "junk.gif", "junk.mp4"):
        (tmp_path / name).write_bytes(b"junk" * 100)
        with pytest.raises(BadInput, match=name):
            read_clip(tmp_path / name, 1, (4, 4))
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(BadInput, match=r"unknown clip format '\.txt'"):
        read_clip(tmp_path / "a.txt", 1, (4, 4))
