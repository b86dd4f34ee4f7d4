"""Any clip through a video model: its own size, tiles without seams, windows, what comes after the end."""

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import moga_st
from moga_st.config import ModelConfig
from moga_st.errors import BadInput
from moga_st.infer.predict import predict, predict_all
from moga_st.infer.tiles import predict_frames
from moga_st.metrics import video
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.pretrained import export_weights
from moga_st.spec import InputSpec
from tests.test_cli import run

RNG = np.random.default_rng(0)
CONFIG = SimVPConfig(4, 3, 1, width=4, layers=2, translator=MogaTranslatorConfig(width=16, depth=2, ffn_ratio=2))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a small model that was trained on 16x16 frames, or says so."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    spec = InputSpec((4, 1, 16, 16), (3, 1, 16, 16), ("grey",), fps=25)
    export_weights(path, CONFIG.build(), CONFIG.fit(spec), {}, spec=spec)
    return path


@pytest.fixture
def clip(tmp_path):
    """11 frames of 20x30 pixels."""
    frames = np.random.default_rng(0).integers(0, 256, (11, 20, 30), np.uint8)
    np.save(tmp_path / "clip.npy", frames)
    return tmp_path / "clip.npy", frames.astype(np.float32)[:, None] / 255


def test_a_clip_keeps_its_own_size_and_is_scored_against_what_follows(weights, clip):
    path, frames = clip
    made = moga_st.predict(weights, path, start=2)
    net = moga_st.load_model(weights)
    with torch.no_grad():
        expected = net(torch.from_numpy(frames[None, 2:6]))[0]
    np.testing.assert_allclose(made.frames, expected.numpy(), atol=1e-6)
    np.testing.assert_array_equal(made.truth, frames[6:9])
    assert made.scores["mse"] == pytest.approx(video.mse(expected, torch.from_numpy(frames[6:9])).mean().item())
    still = video.mse(torch.from_numpy(frames[5:6]).expand_as(expected), torch.from_numpy(frames[6:9]))
    assert made.copy_last["mse"] == pytest.approx(still.mean().item())
    assert made.conventions.keys() == made.scores.keys() == made.copy_last.keys()
    assert "summed over c, h, w" in made.conventions["mse"]
    assert made.spec.fps == 25


@dataclass(frozen=True)
class BrighterConfig(ModelConfig, kind="test_brighter"):
    """A network of somebody's own."""

    def build(self):
        return Brighter()


class Brighter(nn.Module):
    """Three frames out of four: the last one, brighter by one more hundredth each."""

    def __init__(self):
        super().__init__()
        self.step = nn.Parameter(torch.tensor(0.01))

    def forward(self, clip):
        return clip[:, -1:] + self.step * torch.arange(1, 4).view(-1, 1, 1, 1)


@pytest.mark.parametrize("frames", [2, 3, 8])
def test_any_network_of_clips_predicts_and_is_rolled_out(tmp_path, clip, frames):
    path, values = clip
    config, spec = BrighterConfig(), InputSpec((4, 1, 16, 16), (3, 1, 16, 16), ("grey",))
    export_weights(tmp_path / "own.safetensors", config.build(), config, {}, spec=spec)
    made = predict(tmp_path / "own.safetensors", path, frames=frames)
    expected = values[3] + 0.01 * np.arange(1, frames + 1).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(made.frames, expected, atol=1e-6)
    export_weights(tmp_path / "unknown.safetensors", config.build(), config, {})
    with pytest.raises(BadInput, match="holds a Brighter; predict needs a video model"):
        predict(tmp_path / "unknown.safetensors", path)


def test_what_comes_after_the_clip_starts_from_its_last_frames(weights, clip):
    path, frames = clip
    made = predict(weights, path, from_end=True)
    assert made.start == 7
    np.testing.assert_array_equal(made.past, frames[7:])
    assert not made.scores
    assert len(made.truth) == 0


def test_all_windows_predict_every_frame_once(weights, clip):
    path, frames = clip
    made = list(predict_all(weights, path))
    assert [m.start for m in made] == [0, 3]  # 4 in, 3 out, of 11 frames: up to frame 9
    np.testing.assert_array_equal(np.concatenate([m.truth for m in made]), frames[4:10])


def test_a_folder_of_clips_is_predicted_file_by_file(weights, clip, tmp_path, capsys):
    path, _ = clip
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("a.npy", "b.npy"):
        (folder / name).write_bytes(path.read_bytes())
    (folder / "notes.txt").write_text("not a clip")
    code, out, _ = run(capsys, "predict", weights, folder, "--all", "--json", "--device", "cpu")
    assert code == 0
    results = json.loads(out)
    assert [r["windows"] for r in results] == [2, 2]
    mean = np.mean([m.scores["mse"] for m in predict_all(weights, path)])
    assert results[0]["mse"] == pytest.approx(mean)
    # files that differ in their ending alone do not overwrite each other's predictions; a folder of frames is a clip
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(folder / "a.gif", save_all=True, append_images=frames())
    (folder / "c").mkdir()
    for i, frame in enumerate(frames()):
        frame.save(folder / "c" / f"{i:03d}.png")
    code, out, _ = run(capsys, "predict", weights, folder, "--json", "--device", "cpu", "--out", tmp_path / "out")
    assert code == 0
    arrays = [next(w for w in r["written"] if w.endswith(".npy")) for r in json.loads(out)]
    stems = ["a.gif", "a.npy", "b", "c"]
    assert arrays == [str(tmp_path / "out" / f"{stem}_predicted.npy") for stem in stems]


def frames() -> list[Image.Image]:
    return [Image.fromarray(np.full((20, 30), 20 * i, np.uint8)) for i in range(1, 11)]


def test_frames_too_small_for_ssim_and_perfect_ones_are_scored_as_json_can_say_it(weights, tmp_path, capsys):
    flags = ["--json", "--device", "cpu", "--out", tmp_path]
    np.save(tmp_path / "dots.npy", RNG.integers(0, 256, (11, 5, 5), np.uint8))
    code, out, _ = run(capsys, "predict", weights, tmp_path / "dots.npy", "--size", 4, *flags)
    result = json.loads(out)
    assert code == 0
    assert "ssim" not in result
    assert result["mse"] > 0
    # a network that repeats the last frame is perfect on a still clip, and its PSNR infinite
    still = dataclasses.replace(CONFIG, residual=True)
    export_weights(tmp_path / "still.safetensors", still.build(), still, {})
    np.save(tmp_path / "black.npy", np.zeros((11, 16, 16), np.uint8))
    code, out, _ = run(capsys, "predict", tmp_path / "still.safetensors", tmp_path / "black.npy", *flags)
    assert code == 0
    assert "Infinity" not in out
    result = json.loads(out)
    assert (result["psnr"], result["mse"], result["ssim"]) == (None, 0.0, 1.0)


class Shift(nn.Module):
    """Two frames out: the last one a pixel to the right, then two; it sees no farther than two pixels."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.sizes = set()

    def forward(self, past, frames=None):
        self.sizes.add(tuple(past.shape[-2:]))
        last = past[:, -1:]
        return torch.cat([last.roll(1, -1), last.roll(2, -1)], 1)[:, :frames]


def test_tiles_show_no_seams():
    past = torch.rand(3, 2, 50, 70)
    net = Shift()
    tiled = predict_frames(net, past, None, (20, 20))
    assert net.sizes == {(20, 20)}  # never more of the frame at once
    whole = net(past[None])[0]
    weight_of_edges = 2 / 10  # where a tile wraps around at its edge, it counts as little as that
    inside = (slice(None), slice(None), slice(None), slice(2, None))
    assert (tiled[inside] - whole[inside]).abs().max() <= weight_of_edges
    # of a smooth clip nothing is seen of it at all
    smooth = torch.linspace(0, 1, 70).expand(3, 2, 50, 70)
    step = (predict_frames(Shift(), smooth, None, (20, 20)) - Shift()(smooth[None])[0])[inside]
    assert step.abs().max() <= weight_of_edges * 20 / 70
    # and a network that looks at single pixels gives the same to the last bits
    pointwise = nn.Conv3d(3, 2, 1)
    torch.nn.init.constant_(pointwise.weight, 0.3)

    class Pointwise(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = pointwise

        def forward(self, past, frames=None):
            return self.layer(past)[:, :frames]

    with torch.no_grad():
        tiled = predict_frames(Pointwise(), past, None, (20, 20))
        torch.testing.assert_close(tiled, pointwise(past[None])[0], rtol=1e-5, atol=1e-6)


def test_fields_come_back_in_their_unit(tmp_path):
    spec = InputSpec((4, 2, 8, 8), (3, 2, 8, 8), ("u", "v"), (5.0, -1.0), (2.0, 3.0), "m/s")
    config = SimVPConfig(width=4, layers=2, translator=MogaTranslatorConfig(width=16, depth=2)).fit(spec)
    torch.manual_seed(0)
    net = config.build()
    export_weights(tmp_path / "w.safetensors", net, config, {}, spec=spec)
    winds = (20 * np.random.default_rng(0).standard_normal((7, 8, 8, 2))).astype(np.float32)
    np.save(tmp_path / "winds.npy", winds)
    made = predict(tmp_path / "w.safetensors", tmp_path / "winds.npy")
    mean, std = (np.array(v, np.float32).reshape(-1, 1, 1) for v in (spec.mean, spec.std))
    seen = (winds[:4].transpose(0, 3, 1, 2) - mean) / std
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(seen)[None])[0].numpy() * std + mean
    np.testing.assert_allclose(made.values(), expected, rtol=1e-4, atol=1e-4)
    error = (expected - winds[4:].transpose(0, 3, 1, 2)) ** 2
    assert made.scores["mse"] == pytest.approx(error.mean(), rel=1e-4)
    assert "in the data's unit" in made.conventions["mse"]


def test_anomalies_are_added_to_what_is_usual_in_the_month_that_is_predicted(tmp_path):
    xarray = pytest.importorskip("xarray")
    spec = InputSpec((4, 1, 8, 8), (3, 1, 8, 8), ("u",), std=(2.0,), unit="m/s", anomalies="month")
    config = SimVPConfig(width=4, layers=2, translator=MogaTranslatorConfig(width=16, depth=2)).fit(spec)
    torch.manual_seed(0)
    net = config.build()
    usual = 10 + torch.arange(12.0).view(12, 1, 1, 1).expand(12, 1, 8, 8)
    export_weights(tmp_path / "w.safetensors", net, config, {}, spec=spec, usual=usual)
    months = np.datetime64("1999-09", "M") + np.arange(6)
    values = np.random.default_rng(0).normal(20, 3, (6, 8, 8)).astype(np.float32)
    dims = ("time", "y", "x")
    data = xarray.Dataset({"u": (dims, values, {"units": "m/s"})}, {"time": months.astype("datetime64[ns]")})
    data.to_netcdf(tmp_path / "u.nc")
    made = predict(tmp_path / "w.safetensors", tmp_path / "u.nc", from_end=True)
    month = months.astype(int) % 12
    seen = (torch.from_numpy(values)[:, None] - usual[month])[2:] / 2
    with torch.no_grad():
        expected = net.eval()(seen[None])[0] * 2 + usual[[2, 3, 4]]  # March, April, May follow February
    np.testing.assert_allclose(made.values(), expected, rtol=1e-5)
    np.save(tmp_path / "u.npy", values)
    with pytest.raises(BadInput, match=r"has no dates, but .* predicts anomalies from a climatology"):
        predict(tmp_path / "w.safetensors", tmp_path / "u.npy")
    (data.isel(x=slice(4))).to_netcdf(tmp_path / "part.nc")
    with pytest.raises(BadInput, match=r"frames are 8x4, but .* knows what is usual at each place of 8x8 frames"):
        predict(tmp_path / "w.safetensors", tmp_path / "part.nc")


def test_bad_numbers_are_named(weights, clip):
    path, _ = clip
    with pytest.raises(BadInput, match="has 11 frames, but the model needs 4 from frame 8"):
        predict(weights, path, start=8)
    with pytest.raises(BadInput, match="start: expected 0 or more"):
        predict(weights, path, start=-1)
    with pytest.raises(BadInput, match="size: expected at least 1"):
        predict(weights, path, size=(0, 4))
    with pytest.raises(BadInput, match="frames: expected at least 1"):
        predict(weights, path, frames=0)
