"""Every kind of clip that people have, made here: content decides, times are kept, damage is told."""

import struct
import subprocess
import warnings
from pathlib import Path

import h5py
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from moga_st.data.video.clip import even
from moga_st.data.video.clips import open_clip, open_video, read_clip
from moga_st.errors import BadInput


def moving(t: int, h: int = 32, w: int = 48, size: int = 8) -> np.ndarray:
    """A white square that moves 2 px a frame to the right over black: (t, h, w, 3) uint8."""
    frames = np.zeros((t, h, w, 3), np.uint8)
    for i in range(t):
        frames[i, 4 : 4 + size, 2 * i % (w - size) : 2 * i % (w - size) + size] = 255
    return frames


def ffmpeg(*options: object, frames: np.ndarray | None = None, fps: float = 10) -> None:
    source = []
    if frames is not None:
        h, w = frames.shape[1:3]
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{w}x{h}", "-r", str(fps), "-i", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *source, *map(str, options)]
    subprocess.run(command, input=b"" if frames is None else frames.tobytes(), check=True, timeout=60)


def all_of(path: Path) -> np.ndarray:
    return np.stack(list(open_clip(path).read()))


CODECS = {
    "mp4": [],
    "mov": [],
    "mkv": [],
    "flv": [],
    "avi": ["-c:v", "mpeg4", "-q:v", "2"],
    "mts": ["-c:v", "mpeg2video", "-q:v", "2", "-r", "25", "-f", "mpegts"],
    "mpg": ["-c:v", "mpeg1video", "-q:v", "2", "-r", "25"],
    "ogv": ["-c:v", "libtheora", "-q:v", "10"],
    "webm": ["-c:v", "libvpx", "-b:v", "2M", "-deadline", "realtime"],
}


@pytest.mark.parametrize("ending", CODECS)
def test_any_video_under_any_name(tmp_path, ending):
    made, path = tmp_path / f"made.{ending}", tmp_path / "clip.dat"
    fps = 25 if "25" in CODECS[ending] else 10
    ffmpeg(*CODECS[ending], made, frames=moving(12), fps=fps)
    made.rename(path)
    clip = open_clip(path)
    assert (clip.size_px, clip.frames, clip.channels) == ((48, 32), 12, ("red", "green", "blue"))
    assert clip.fps == pytest.approx(fps, rel=1e-3)
    got = np.stack(list(clip.read(2, 7))).astype(int)
    assert np.abs(got - moving(12)[2:7]).mean() < 6
    assert len(list(clip.read(10))) == 2


def test_what_ffmpegs_threads_say_at_once_may_be_torn(tmp_path, monkeypatch):
    """Lines that it puts together from pieces have been seen with another thread's line in their middle."""
    path, torn = tmp_path / "a.mkv", tmp_path / "torn"
    ffmpeg(path, frames=moving(60))
    tear = "s/^.*Stream #0:0/&[dec:h264] [info] decoder is busy\\n/; s/Output #0/Out\\nput #0/"
    torn.write_text(f"#!/bin/bash\nexec {imageio_ffmpeg.get_ffmpeg_exe()} \"$@\" 2> >(exec sed -u '{tear}' >&2)\n")
    torn.chmod(0o755)
    whole = all_of(path)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(torn))
    np.testing.assert_array_equal(all_of(path), whole)


# --- times ---


def test_a_phones_video_that_drops_frames_keeps_its_time(tmp_path):
    # 30 a second for 1 s, then every second frame is missing, as phones do it in the dark
    numbered = np.repeat(np.arange(90, dtype=np.uint8)[:, None, None, None] * 2, 3, -1)
    frames = np.broadcast_to(numbered, (90, 32, 32, 3))
    keep = "select='lt(n,30)+not(mod(n,2))'"
    options = ["-vf", keep, "-fps_mode", "vfr", "-crf", "1", "-pix_fmt", "yuv444p"]
    ffmpeg(*options, tmp_path / "dark.mp4", frames=frames, fps=30)
    clip = open_clip(tmp_path / "dark.mp4")
    assert (clip.frames, clip.fps) == (89, 30)  # the last one, number 88, is shown for 1/30 s
    shown = np.stack(list(clip.read()))[:, 16, 16, 0].astype(int) / 2
    moment = np.arange(89)
    np.testing.assert_allclose(shown, np.where(moment < 30, moment, moment // 2 * 2), atol=1.1)
    late = np.stack(list(clip.read(80, 84)))[:, 16, 16, 0].astype(int) / 2
    np.testing.assert_allclose(late, [80, 80, 82, 82], atol=1.1)


def test_a_frame_far_into_a_video_is_sought(tmp_path):
    frames = np.repeat(np.arange(200, dtype=np.uint8)[:, None, None, None], 3, -1) * np.ones((1, 16, 16, 1), np.uint8)
    ffmpeg("-g", "30", "-crf", "1", "-pix_fmt", "yuv444p", tmp_path / "a.mp4", frames=frames, fps=20)
    clip = open_clip(tmp_path / "a.mp4")
    for first in (0, 59, 60, 61, 62, 63, 119, 150, 197):
        got = np.stack(list(clip.read(first, first + 3)))[:, 8, 8, 0].astype(int)
        np.testing.assert_allclose(got, np.arange(first, first + 3), atol=1)


def gif(path: Path, delays_ms: list[int], t: int = 0) -> Path:
    frames = [Image.fromarray(f) for f in moving(t or len(delays_ms))]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=delays_ms, loop=0)
    return path


def test_a_gif_of_40_frames_a_second_has_its_own_frames(tmp_path):
    # 25 ms is no whole number of centiseconds, so encoders write 30, 20, 30, 20
    clip = open_clip(gif(tmp_path / "r40.gif", [30, 20] * 10))
    assert (clip.frames, clip.fps) == (20, 40)
    np.testing.assert_array_equal(all_of(tmp_path / "r40.gif"), moving(20))


def test_varying_delays_keep_their_times(tmp_path):
    clip = open_clip(gif(tmp_path / "var.gif", [50, 50, 200, 50, 100]))
    assert (clip.frames, clip.fps) == (9, 20)
    np.testing.assert_array_equal(all_of(tmp_path / "var.gif"), moving(5)[[0, 1, 2, 2, 2, 2, 3, 4, 4]])


@pytest.mark.parametrize(
    ("delays", "clock", "fps", "shown"),
    [
        ([0.04] * 5, 0.0, 25, [0, 1, 2, 3, 4]),
        ([0.035, 0.031, 0.034, 0.0333], 0.0, 30.0075, [0, 1, 2, 3]),  # a webcam's jitter
        ([0.0, 0.0], 0.01, 10, [0, 1]),  # no delay given
        ([0.1, 0.3], 0.0, 10, [0, 1, 1, 1]),
        ([0.01, 0.02, 0.02, 0.01, 0.02, 0.02], 0.01, 60, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_even_moments(delays, clock, fps, shown):
    timeline = even(Path("a.gif"), delays, clock)
    assert timeline.fps == pytest.approx(fps, rel=1e-4)
    assert timeline.shown.tolist() == shown


def test_delays_that_would_be_a_bomb_are_refused():
    with pytest.raises(BadInput, match=r"a\.gif: frames are shown for 0\.01 to 655 s, .*save it with even delays"):
        even(Path("a.gif"), [0.01] * 10 + [655.0] * 10, 0.01)


# --- pictures ---


def test_transparent_pixels_are_black_whatever_colour_hides_there(tmp_path):
    frames = []
    for frame in moving(4):
        picture = Image.new("RGBA", (48, 32), (255, 0, 255, 0))
        mask = Image.fromarray(frame[..., 0])
        picture.paste((255, 255, 255, 255), mask=mask)
        frames.append(picture)
    for name, options in (("a.gif", {"disposal": 2}), ("a.png", {}), ("a.webp", {"lossless": True, "exact": True})):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=100, **options)
        np.testing.assert_array_equal(all_of(tmp_path / name), moving(4), err_msg=name)
        clip = open_clip(tmp_path / name)
        assert (clip.frames, clip.fps) == (4, 10), name


def test_tiff_pages_and_folders_of_frames(tmp_path):
    pictures = [Image.fromarray(f) for f in moving(12)]
    pictures[0].save(tmp_path / "stack.tif", save_all=True, append_images=pictures[1:])
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, picture in enumerate(pictures):
        picture.save(folder / f"frame_{i}_cam1.png")
    (folder / "notes.txt").write_text("not a picture")
    for path in (tmp_path / "stack.tif", folder):
        assert (open_clip(path).frames, open_clip(path).fps) == (12, None)
        np.testing.assert_array_equal(all_of(path), moving(12))
    np.testing.assert_array_equal(np.stack(list(open_video(folder).part(1, 5, 2))), moving(12)[[1, 6]])


def test_a_folder_says_what_is_wrong_with_it(tmp_path):
    for i in (0, 1, 3):
        Image.fromarray(moving(4)[i]).save(tmp_path / f"{i}.png")
    with pytest.warns(UserWarning, match=r"frames are missing between 1\.png and 3\.png"):
        open_clip(tmp_path)
    Image.new("RGB", (5, 5)).save(tmp_path / "2.png")
    with pytest.raises(BadInput, match=r"2\.png: 5 x 5 pixels, the first frame has 48 x 32"):
        all_of(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(BadInput, match="a folder without pictures"):
        open_clip(tmp_path / "none")


def test_sixteen_bits_keep_their_precision(tmp_path):
    values = np.array([[0, 1, 257], [32768, 65534, 65535]], np.uint16)
    pages = [Image.fromarray(values), Image.fromarray(values[::-1].copy())]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    np.save(tmp_path / "a.npy", np.stack([values, values[::-1]]))
    for path in (tmp_path / "a.tif", tmp_path / "a.npy"):
        np.testing.assert_allclose(all_of(path)[0, ..., 0], values / 65535, rtol=1e-6)


def test_a_gif_of_huge_frames_is_refused_before_it_is_decoded(tmp_path):
    path = gif(tmp_path / "a.gif", [100, 100])
    data = bytearray(path.read_bytes())
    data[6:10] = struct.pack("<HH", 60_000, 60_000)
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"frames of .* pixels, at most 35,389,440"):
        open_clip(path)


# --- damage ---


def test_whole_frames_before_the_damage_serve_with_a_warning(tmp_path):
    # mpeg4 without B-frames, so that frames are stored in the order in which they are shown
    options = ["-c:v", "mpeg4", "-q:v", "2", "-g", "5", "-bf", "0"]
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 256, (40, 64, 64, 1), np.uint8), 3, -1)
    ffmpeg(*options, tmp_path / "whole.mp4", frames=frames)
    ffmpeg(*options, tmp_path / "whole.mkv", frames=frames)
    gif(tmp_path / "whole.gif", [100] * 40)
    for name in ("whole.mp4", "whole.mkv", "whole.gif"):
        path, data = tmp_path / name, bytearray((tmp_path / name).read_bytes())
        expected = all_of(path)
        if name == "whole.mp4":  # its index is at the end
            data[len(data) // 2 : len(data) * 3 // 4] = bytes(len(data) * 3 // 4 - len(data) // 2)
        else:
            data = data[: len(data) * 3 // 4]
        cut = tmp_path / f"cut_{name}"
        cut.write_bytes(data)
        with pytest.warns(UserWarning, match=rf"{cut.name}: damaged or cut off; its first \d+ frames serve"):
            got = all_of(cut)
        assert 15 <= len(got) < 40, name
        np.testing.assert_array_equal(got, expected[: len(got)], err_msg=name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # frames before the damage need no warning
            assert len(list(open_clip(cut).read(0, 10))) == 10


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut", "the index of the recording is missing"),
        ("text", "no video"),
        ("zero", r"is empty \(0 bytes\)"),
        ("sound", "holds no moving picture, only sound"),
        ("all", "damaged"),
        ("concat", "no video"),
        ("one", "one picture, no clip"),
    ],
)
def test_one_line_says_what_is_wrong(tmp_path, name, message):
    path, whole = tmp_path / f"{name}.mp4", tmp_path / "whole.mp4"
    ffmpeg(whole, frames=moving(20))
    data = whole.read_bytes()
    if name == "sound":
        ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path)
    elif name == "one":
        Image.fromarray(moving(1)[0]).save(path, format="png")
    elif name == "all":  # the index is whole, the frames are not
        start, stop = data.index(b"mdat") + 4, data.index(b"moov") - 4
        path.write_bytes(data[:start] + bytes(stop - start) + data[stop:])
    else:
        others = {
            "cut": data[: data.index(b"moov") - 20],
            "text": b"no video\n" * 50,
            "zero": b"",
            "concat": f"ffconcat version 1.0\nfile {whole}\n".encode(),
        }
        path.write_bytes(others[name])
    with pytest.raises(BadInput, match=message) as caught:
        list(open_clip(path).read())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# --- arrays ---

FRAMES = np.random.default_rng(1).integers(0, 256, (9, 16, 24), np.uint8)


def test_arrays_in_containers(tmp_path):
    np.savez(tmp_path / "a.npz", FRAMES)
    np.savez_compressed(tmp_path / "b.npz", clip=FRAMES, other=FRAMES + 1, label=np.arange(3))
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["video/frames"] = FRAMES
        file["video/times"] = np.arange(9.0)
    for path, variables in (("a.npz", ()), ("b.npz", ("clip",)), ("c.h5", ()), ("c.h5", ("video/frames",))):
        clip = open_clip(tmp_path / path, variables)
        np.testing.assert_array_equal(np.stack(list(clip.read(3, 6)))[..., 0], FRAMES[3:6])
        assert (clip.frames, clip.size_px, clip.channels) == (9, (24, 16), ("grey",))
    with pytest.raises(BadInput, match=r"b\.npz: holds 3 arrays that could be a clip \(clip, other, label\); name one"):
        open_clip(tmp_path / "b.npz")
    with pytest.raises(BadInput, match=r"c\.h5: has no data set 'video/frame' \(did you mean 'video/frames'\?\)"):
        open_clip(tmp_path / "c.h5", ("video/frame",))


def test_two_channels_are_read_where_the_model_has_two(tmp_path):
    two = np.stack([FRAMES, FRAMES[::-1]], 1)
    np.save(tmp_path / "two.npy", two)
    np.testing.assert_allclose(read_clip(tmp_path / "two.npy", 2), two / 255, rtol=1e-6)
    np.save(tmp_path / "last.npy", two.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(read_clip(tmp_path / "last.npy", 2), two / 255, rtol=1e-6)
    np.save(tmp_path / "small.npy", two[..., :2])  # (9, 2, 16, 2): which dimension is meant is a guess without a model
    with pytest.raises(BadInput, match=r"has 2 channels \(channel 0, channel 1\), the model takes 1"):
        read_clip(tmp_path / "two.npy", 1)


def test_a_prediction_serves_as_the_next_input(tmp_path):
    prediction = FRAMES[:, None].astype(np.float32) / 255 * 1.2 - 0.1  # it overshoots
    np.save(tmp_path / "p.npy", prediction)
    np.testing.assert_allclose(read_clip(tmp_path / "p.npy", 1), prediction.clip(0, 1))
    np.testing.assert_allclose(read_clip(tmp_path / "p.npy", 1, images=False), prediction)
    np.save(tmp_path / "wind.npy", 30 * prediction)
    np.testing.assert_allclose(read_clip(tmp_path / "wind.npy", 1, images=False), 30 * prediction)
    with pytest.raises(BadInput, match=r"floats must be in \[0, 1\]"):
        read_clip(tmp_path / "wind.npy", 1)


def test_the_clips_own_shape_or_the_one_asked_for(tmp_path):
    np.save(tmp_path / "a.npy", FRAMES)
    assert read_clip(tmp_path / "a.npy", 1).shape == (9, 1, 16, 24)
    assert read_clip(tmp_path / "a.npy", 3, (8, 6), first=2, frames=4).shape == (4, 3, 8, 6)
    with pytest.raises(BadInput, match="holds no frames from frame 9 on; it has 9"):
        read_clip(tmp_path / "a.npy", 1, first=9)


def grid():
    xarray = pytest.importorskip("xarray")
    rng = np.random.default_rng(2)
    u, v = rng.normal(size=(2, 12, 4, 6)).astype(np.float32)
    level = rng.normal(size=(12, 2, 4, 6)).astype(np.float32)
    dims = ("TIME", "YAX", "XAX")
    times = np.datetime64("2000-01-16", "ns") + np.arange(12) * np.timedelta64(6, "h")
    return xarray.Dataset(
        {
            "U": (dims, u, {"units": "m/s"}),
            "V": (dims, v, {"units": "m/s"}),
            "T": (("TIME", "LEV", "YAX", "XAX"), level, {"units": "K"}),
            "flag": (("TIME",), np.arange(12)),
        },
        coords={"TIME": times, "LEV": [850, 500]},
    )


@pytest.mark.parametrize("kind", ["classic", "netcdf4", "zarr"])
def test_variables_of_a_grid_become_channels(tmp_path, kind):
    data = grid()
    path = tmp_path / "wind.dat"
    if kind == "zarr":
        data.to_zarr(path, consolidated=False)
    else:
        data.to_netcdf(path, format="NETCDF3_64BIT" if kind == "classic" else "NETCDF4")
    clip = open_clip(path, ("V", "U"))
    assert (clip.channels, clip.unit, clip.frames, clip.size_px) == (("V", "U"), "m/s", 12, (6, 4))
    assert clip.fps == pytest.approx(1 / (6 * 3600))
    got = np.stack(list(clip.read(2, 5)))
    np.testing.assert_array_equal(got, np.stack([data["V"], data["U"]], -1)[2:5])
    levels = open_clip(path, ("T",))
    assert levels.channels == ("T LEV=850", "T LEV=500")
    np.testing.assert_array_equal(next(levels.read(3)), data["T"].values[3].transpose(1, 2, 0))
    turned = open_clip(path, ("U",), ("TIME", "XAX", "YAX"))
    np.testing.assert_array_equal(next(turned.read(1))[..., 0], data["U"].values[1].T)
    with pytest.raises(BadInput, match=r"has no variable 'W'.*it has T, U, V, flag"):
        open_clip(path, ("W",))
    with pytest.raises(BadInput, match=r"U has no dimension 'lat'"):
        open_clip(path, ("U",), ("TIME", "lat", "XAX"))


@pytest.mark.parametrize(
    ("units", "calendar", "values", "dates"),
    [
        ("hours since 1900-01-01", "standard", [876576, 876582], ["2000-01-01T00", "2000-01-01T06"]),
        ("days since 2001-01-01", "noleap", [58, 59], ["2001-02-28T00", "2001-03-01T00"]),
        ("days since 2000-01-01 12:00", "360_day", [59, 60], ["2000-02-29T12", "2000-03-01T12"]),
        ("days since 0850-01-01", "noleap", [0, 365], ["0850-01-01T00", "0851-01-01T00"]),
    ],
)
def test_dates_count_from_1970_whatever_they_count_from_in_the_file(tmp_path, units, calendar, values, dates):
    xarray = pytest.importorskip("xarray")
    time = ("time", np.array(values), {"units": units, "calendar": calendar})
    xarray.Dataset({"u": (("time", "y", "x"), np.zeros((2, 3, 4)))}, {"time": time}).to_netcdf(tmp_path / "u.nc")
    got = open_clip(tmp_path / "u.nc").time_s
    assert got is not None
    np.testing.assert_array_equal(got, np.array(dates, "datetime64[s]").astype(np.int64))


def test_numbers_that_are_no_dates_are_none(tmp_path):
    xarray = pytest.importorskip("xarray")
    data = xarray.Dataset({"u": (("time", "y", "x"), np.zeros((2, 3, 4)))}, {"time": [10.0, 20.0]})
    data.to_netcdf(tmp_path / "u.nc")
    clip = open_clip(tmp_path / "u.nc")
    assert (clip.time_s, clip.fps) == (None, None)
