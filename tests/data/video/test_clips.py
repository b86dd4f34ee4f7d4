import subprocess
from pathlib import Path

import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from moga_st.data.video.clips import open_video, read_clip
from moga_st.errors import BadInput

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
        (np.zeros((3, 4, 4), np.int32), "expected uint8, uint16 or floats"),
        (np.zeros((4, 4), np.uint8), r"got \(4, 4\)"),
        (np.zeros((2, 5, 4, 4), np.uint8), r"has 4 channels \(channel 0, .*the model takes 1"),
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
    with pytest.raises(BadInput, match=r"a\.txt: is empty"):
        read_clip(tmp_path / "a.txt", 1, (4, 4))


# --- frames as they are ---


def write_video(path: Path, frames: np.ndarray, *options: str) -> Path:
    h, w = frames.shape[1:3]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{w}x{h}"]
    command += ["-r", "12", "-i", "-", "-crf", "1", "-pix_fmt", "yuv444p", *options, str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)
    return path


def steps(t: int) -> np.ndarray:
    """Frame i is of grey level 20 i, with a white corner at the top left: (t, 32, 64, 3)."""
    frames = np.empty((t, 32, 64, 3), np.uint8)
    frames[:] = 20 * np.arange(t)[:, None, None, None]
    frames[:, :8, :8] = 255
    return frames


def test_a_video_is_decoded_again_by_every_loop(tmp_path):
    video = open_video(write_video(tmp_path / "a.mp4", steps(10)))
    assert (video.size_px, video.fps, video.frames) == ((64, 32), 12, 10)
    for _ in range(2):
        got = np.stack(list(video))
        np.testing.assert_allclose(got.astype(int), steps(10), atol=6)
    part = video.part(2, 3, 2)
    assert (part.frames, part.fps) == (2, 4)
    np.testing.assert_allclose(np.stack(list(part)).astype(int), steps(10)[[2, 5]], atol=6)


@pytest.mark.parametrize("ending", [".m4v", ".ts", ".MPG", ".wmv", ".unknown"])
def test_a_video_is_known_by_its_content(tmp_path, ending):
    write_video(tmp_path / "a.mkv", steps(10)).rename(tmp_path / f"a{ending}")
    video = open_video(tmp_path / f"a{ending}")
    assert (video.size_px, video.fps, video.frames) == ((64, 32), 12, 10)
    np.testing.assert_allclose(np.stack(list(video)).astype(int), steps(10), atol=6)
    if ending != ".unknown":
        assert len(read_clip(tmp_path / f"a{ending}", 1, (32, 64))) == 10


def test_a_phones_video_is_turned_upright(tmp_path):
    write_video(tmp_path / "a.mp4", steps(3))
    turn = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-display_rotation", "90", "-i", str(tmp_path / "a.mp4")]
    subprocess.run([*turn, "-c", "copy", str(tmp_path / "b.mp4")], check=True)
    video = open_video(tmp_path / "b.mp4")
    assert video.size_px == (32, 64)
    frame = next(iter(video)).astype(int)
    np.testing.assert_allclose(frame, np.rot90(steps(1)[0]), atol=6)  # the corner comes to the bottom left


def test_a_gif_tells_its_rate(tmp_path):
    frames = [Image.fromarray(f) for f in steps(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[40, 40, 120, 40])
    video = open_video(tmp_path / "a.gif")
    assert (video.size_px, video.fps, video.frames) == ((64, 32), 25, 6)
    np.testing.assert_array_equal(np.stack(list(video)), steps(4)[[0, 1, 2, 2, 2, 3]])


@pytest.mark.parametrize("name", ["none.mp4", "junk.mp4", "junk.gif"])
def test_what_is_no_video_is_named(tmp_path, name):
    if name != "none.mp4":
        (tmp_path / name).write_bytes(b"junk" * 100)
    with pytest.raises(BadInput, match=name):
        open_video(tmp_path / name)
