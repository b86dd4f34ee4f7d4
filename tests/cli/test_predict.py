"""`moga-st predict` on every kind of clip that people have, each made here, through the verb as a user calls it.

The network repeats the last frame that it saw, so that the prediction says which frame of the clip that was.
"""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from moga_st.data.video.clips import open_clip
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.pretrained import export_weights
from tests.data.video.test_open_clip import ffmpeg, gif, moving
from tests.test_cli import run

STILL = SimVPConfig(4, 3, 1, width=4, layers=2, translator=MogaTranslatorConfig(width=16, depth=2), residual=True)
GREY = np.array([0.2125, 0.7154, 0.0721])


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "still.safetensors"
    export_weights(path, STILL.build(), STILL, {})
    return path


def numbered(t: int, h: int = 32, w: int = 48) -> np.ndarray:
    """Frames whose brightness is twice their number."""
    return np.broadcast_to(2 * np.arange(t, dtype=np.uint8)[:, None, None, None], (t, h, w, 3))


def dark(folder: Path) -> Path:
    keep = ["-vf", "select='lt(n,30)+not(mod(n,2))'", "-fps_mode", "vfr", "-crf", "1", "-pix_fmt", "yuv444p"]
    ffmpeg(*keep, folder / "dark.mp4", frames=numbered(90), fps=30)
    return folder / "dark.mp4"


def variable(folder: Path) -> Path:
    frames = [Image.fromarray(f) for f in numbered(8)]
    delays = [50, 50, 200, 50, 100, 50, 50, 50]
    frames[0].save(folder / "var.gif", save_all=True, append_images=frames[1:], duration=delays)
    return folder / "var.gif"


def transparent(folder: Path) -> Path:
    frames = []
    for frame in moving(12):
        picture = Image.new("RGBA", (48, 32), (255, 0, 255, 0))
        picture.paste((255, 255, 255, 255), mask=Image.fromarray(frame[..., 0]))
        frames.append(picture)
    frames[0].save(folder / "t.gif", save_all=True, append_images=frames[1:], duration=100, disposal=2)
    return folder / "t.gif"


def animated_png(folder: Path) -> Path:
    frames = [Image.fromarray(f) for f in moving(12)]
    frames[0].save(folder / "a.png", save_all=True, append_images=frames[1:], duration=100)
    return (folder / "a.png").rename(folder / "plain.png.apng")


def pages(folder: Path) -> Path:
    frames = [Image.fromarray(f) for f in moving(12)]
    frames[0].save(folder / "stack.tif", save_all=True, append_images=frames[1:])
    return folder / "stack.tif"


def pictures(folder: Path) -> Path:
    (folder / "pngs").mkdir()
    for i, frame in enumerate(moving(12)):  # frame_10 comes after frame_9
        Image.fromarray(frame).save(folder / "pngs" / f"frame_{i}.png")
    return folder / "pngs"


def video(name: str, *options: object, fps: float = 25, h: int = 32, w: int = 48) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        ffmpeg(*options, folder / name, frames=moving(12, h, w), fps=fps)
        return folder / name

    return make


def array(folder: Path) -> Path:
    np.save(folder / "own.npy", moving(12, 128, 128)[..., 0])
    return folder / "own.npy"


def archive(folder: Path) -> Path:
    np.savez_compressed(folder / "clip.npz", clip=moving(12)[..., 0], label=np.arange(3))
    return folder / "clip.npz"


class Case(NamedTuple):
    make: Callable[[Path], Path]
    frames: np.ndarray  # (t, h, w, 3), evenly spaced in time
    fps: float  # of the video that is written: 10 where the clip's is unknown
    off: float = 0.0  # mean error that its compression makes, of 255


MOMENT = np.arange(89)
CASES = {
    "a phone's video that drops frames in the dark": Case(
        dark, numbered(90)[np.where(MOMENT < 30, MOMENT, MOMENT // 2 * 2)], 30, 1.5
    ),
    "a GIF of 40 frames a second": Case(lambda f: gif(f / "r40.gif", [30, 20] * 10), moving(20), 40),
    "a GIF of varying delays": Case(variable, numbered(8)[[0, 1, 2, 2, 2, 2, 3, 4, 4, 5, 6, 7]], 20, 1.0),
    "a transparent GIF": Case(transparent, moving(12), 10),
    "an animated PNG by another name": Case(animated_png, moving(12), 10),
    "a TIFF of pages": Case(pages, moving(12), 10),
    "a folder of frames": Case(pictures, moving(12), 10),
    "an .npz of several arrays": Case(archive, moving(12), 10),
    "an MPEG transport stream": Case(video("clip.mts", "-c:v", "mpeg2video", "-q:v", "2"), moving(12), 25, 6),
    "an Ogg video": Case(video("clip.ogv", "-c:v", "libtheora", "-q:v", "10"), moving(12), 25, 6),
    "a wide video": Case(video("wide.mp4", fps=10, h=48, w=96), moving(12, 48, 96), 10, 6),
    "an array of another size than the network's": Case(array, moving(12, 128, 128), 10),
}


@pytest.mark.parametrize("name", CASES)
def test_a_clip_is_predicted_at_its_own_size_rate_and_times(weights, tmp_path, capsys, name):
    case = CASES[name]
    path, grey = case.make(tmp_path), case.frames @ GREY
    for start in (0, len(grey) - 6):
        flags = ["--start", start, "--variables", "clip"] if path.suffix == ".npz" else ["--start", start]
        code, out, said = run(capsys, "predict", weights, path, *flags, "--json", "--out", tmp_path / "out")
        assert (code, said) == (0, "")
        result = json.loads(out)
        assert (result["start"], result["frames_in"], result["frames_predicted"]) == (start, 4, 3)
        assert result["frames_compared"] == (3 if start == 0 else 2)
        written = {Path(p).suffix: Path(p) for p in result["written"]}
        made = np.load(written[".npy"])
        assert (made.dtype, made.shape) == (np.uint8, (3, 1, *grey.shape[1:]))
        for frame in made[:, 0].astype(float):
            assert np.abs(frame - grey[start + 3]).mean() <= case.off + 0.51
        clip = open_clip(written[".mp4"])
        assert (clip.fps, clip.frames) == (pytest.approx(case.fps), 7)
        # the lowest value of the score is what the clip itself changes by
        after = grey[start + 4 : start + 7] / 255
        expected = np.mean([((f - grey[start + 3] / 255) ** 2).sum() for f in after])
        assert result["mse"] == pytest.approx(expected, rel=0.2 if case.off else 1e-3, abs=2.0 if case.off else 0.02)


def test_what_is_whole_before_the_damage_is_predicted_with_a_warning(weights, tmp_path, capsys):
    options = ["-c:v", "mpeg4", "-q:v", "2", "-g", "5", "-bf", "0"]
    frames = np.repeat(np.random.default_rng(0).integers(0, 256, (40, 64, 64, 1), np.uint8), 3, -1)
    ffmpeg(*options, tmp_path / "damaged.mp4", frames=frames)
    ffmpeg(*options, tmp_path / "cut.mkv", frames=frames)
    gif(tmp_path / "cut.gif", [100] * 40)
    for name in ("damaged.mp4", "cut.mkv", "cut.gif"):
        path, data = tmp_path / name, bytearray((tmp_path / name).read_bytes())
        if name == "damaged.mp4":  # its index is at the end
            data[len(data) // 2 : len(data) * 3 // 4] = bytes(len(data) * 3 // 4 - len(data) // 2)
        path.write_bytes(data if name == "damaged.mp4" else data[: len(data) * 3 // 4])
        for flags, warned in (([], False), (["--all"], True)):  # of what is not needed, nothing is decoded
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                code, out, _ = run(capsys, "predict", weights, path, "--json", "--out", tmp_path / "out", *flags)
            assert code == 0, name
            assert any("whole" in str(w.message) or "damaged" in str(w.message) for w in caught) == warned, name
        assert 3 <= json.loads(out)["windows"] < 12


def test_too_few_whole_frames_before_the_damage_are_counted_and_refused(weights, tmp_path, capsys):
    path = gif(tmp_path / "cut.gif", [100] * 12)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    code, _, said = run(capsys, "predict", weights, path, "--out", tmp_path)
    assert code == 2
    held = open_clip(path).frames
    assert 1 <= held < 4
    assert said == (
        f"moga-st: {path}: has {held} whole frames before it is damaged or cut off, but the model needs 4 from "
        "frame 0; get a whole copy\n"
    )


@pytest.mark.parametrize("name", ["cut.mp4", "text.mp4", "zero.mp4", "audio_only.mp4", "none.mp4"])
def test_what_holds_no_clip_gets_one_line(weights, tmp_path, capsys, name):
    path = tmp_path / name
    if name == "cut.mp4":
        ffmpeg(path, frames=moving(12))
        path.write_bytes(path.read_bytes()[:-200])
    elif name == "audio_only.mp4":
        ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path)
    elif name != "none.mp4":
        path.write_bytes(b"no video\n" * 50 if name == "text.mp4" else b"")
    code, out, said = run(capsys, "predict", weights, path, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert said.startswith(f"moga-st: {path}: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_two_channels_go_through_a_model_of_two_and_a_prediction_is_the_next_input(tmp_path, capsys):
    config = SimVPConfig(4, 3, 2, width=4, layers=2, translator=MogaTranslatorConfig(width=16, depth=2), residual=True)
    export_weights(tmp_path / "two.safetensors", config.build(), config, {})
    frames = np.random.default_rng(0).random((12, 2, 16, 24)).astype(np.float32)
    np.save(tmp_path / "two.npy", frames)
    flags = ["--json", "--frames", "5", "--out", tmp_path]
    code, out, _ = run(capsys, "predict", tmp_path / "two.safetensors", tmp_path / "two.npy", *flags)
    assert code == 0
    made = tmp_path / "two_predicted.npy"
    np.testing.assert_array_equal(np.load(made), np.repeat(frames[3:4], 5, 0))
    assert {Path(p).suffix for p in json.loads(out)["written"]} == {".npy", ".png", ".gif"}  # no video of two channels
    code, out, _ = run(capsys, "predict", tmp_path / "two.safetensors", made, "--from-end", *flags)
    assert code == 0
    assert json.loads(out)["start"] == 1
    np.testing.assert_array_equal(np.load(tmp_path / "two_predicted_predicted.npy"), np.load(made))
