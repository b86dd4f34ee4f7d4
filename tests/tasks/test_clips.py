"""Video prediction on prepared files: windows, scores in the data's unit, baselines, exact resume."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moga_st import checkpoint
from moga_st.data.video.prepared_clips import SPLITS, write_clips
from moga_st.engine import RunConfig, Runtime, train
from moga_st.engine.update import Update
from moga_st.errors import BadInput
from moga_st.metrics import rain
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.clips import ClipsConfig
from moga_st.tasks.task import Setting
from moga_st.tasks.video import VideoPrediction, squared
from tests.data.video.prepared import read

CONFIG = ClipsConfig(frames_in=4, frames_out=2, test_sequences=5, baselines=("copy_last", "optical_flow"))
DAY = 86_400.0


def fields(rng: np.random.Generator, n: int) -> np.ndarray:
    return (10 + 3 * rng.standard_normal((n, 12, 16, 2))).astype(np.float32)


@pytest.fixture
def winds(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    with write_clips(tmp_path / "clips.h5", "a test", "none", ("u", "v"), unit="m/s") as writer:
        for i, (split, n) in enumerate((("train", 40), ("val", 12), ("test", 20))):
            assert split in SPLITS
            writer.add_clip(split, f"clip {i}", fields(rng, n), time_s=np.arange(n) * 30 * DAY + i)
    return tmp_path


@pytest.fixture
def video(tmp_path) -> Path:
    rng = np.random.default_rng(1)
    with write_clips(tmp_path / "clips.h5", "a test", "none", ("red", "green", "blue"), fps=25) as writer:
        for split, n in (("train", 30), ("val", 9), ("test", 9)):
            assert split in SPLITS
            writer.add_clip(split, split, rng.integers(0, 256, (n, 12, 12, 3), np.uint8))
    return tmp_path


def build(root: Path, config: ClipsConfig = CONFIG, batch_size: int = 4, seed: int = 0) -> VideoPrediction:
    return config.build(Setting(torch.device("cpu"), root, seed, batch_size))


class Last(nn.Module):
    def forward(self, past):
        return past[:, -1:].expand(-1, 2, -1, -1, -1) + 0.5


def test_fields_are_scored_in_their_unit_beside_every_baseline(winds):
    task = build(winds)
    scores = task.evaluate(Last(), "test")
    assert list(scores.baselines) == ["copy last", "optical flow", "climatology"]
    windows = task.sequences("test", 0, task.data.count("test")).double()
    std, mean = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (task.spec.std, task.spec.mean))
    true = windows[:, 4:] * std + mean
    last = windows[:, 3:4] * std + mean
    expected = (last + 0.5 * std - true).square().mean((0, 2, 3, 4))  # by lead time, (m/s)^2
    assert scores["mse"] == pytest.approx(expected.mean().item(), rel=1e-5)
    assert scores["rmse"] == pytest.approx(expected.mean().sqrt().item(), rel=1e-5)
    assert list(scores.model.by["frame"]["mse"].values()) == pytest.approx(expected.tolist(), rel=1e-5)
    assert scores.baselines["copy last"]["mse"] == pytest.approx((last - true).square().mean().item(), rel=1e-5)
    assert scores["mse v"] == pytest.approx((last + 0.5 * std - true)[:, :, 1].square().mean().item(), rel=1e-5)
    # independent noise is best predicted by its mean, which the climatology comes nearer to than the last frame
    assert scores.baselines["climatology"]["mse"] < 0.8 * scores.baselines["copy last"]["mse"]
    assert list(task.evaluate(Last(), "val").baselines) == ["copy last"]


def test_examples_of_fields_are_named_with_their_error_in_the_datas_unit(winds):
    task = build(winds)
    found = task.examples(Last(), "test")
    windows = [task.sequences("test", i, i + 1)[0] for i in range(task.data.count("test"))]
    std = torch.tensor(task.spec.std).view(-1, 1, 1)
    errors = sorted(float(((x[3:4] + 0.5 - x[4:]) * std).square().mean()) for x in windows)
    assert found[0].title == f"best of {len(windows)}, MSE {errors[0]:.3g} (m/s)^2"
    assert found[-1].title == f"worst of {len(windows)}, MSE {errors[-1]:.3g} (m/s)^2"
    assert [squared(unit) for unit in ("K", "m/s", "K, m/s")] == ["K^2", "(m/s)^2", "(K, m/s, each squared)"]


def test_rain_is_scored_by_pooled_counts(winds):
    task = build(winds, dataclasses.replace(CONFIG, rain_thresholds=(9.0, 12.0)))
    scores = task.evaluate(Last(), "test")
    windows = task.sequences("test", 0, task.data.count("test"))
    std, mean = (torch.tensor(v).view(-1, 1, 1) for v in (task.spec.std, task.spec.mean))
    pred, true = ((x * std + mean) for x in (Last()(windows[:, :4]), windows[:, 4:]))
    for threshold in (9.0, 12.0):
        hits = ((pred >= threshold) & (true >= threshold)).sum().item()
        events = ((pred >= threshold) | (true >= threshold)).sum().item()
        assert scores[f"csi {threshold:g}"] == pytest.approx(hits / events)
    both = [rain.fss(rain.fss_parts(pred, true, (t,), 5).sum((0, 1)))[0].item() for t in (9.0, 12.0)]
    assert [scores["fss 9"], scores["fss 12"]] == pytest.approx(both)


@pytest.fixture
def cells(tmp_path) -> Path:
    """Rain cells that drift by 2 and 1 pixels a frame: squares of 20 mm/h with a border of 5, on 48 x 48 pixels."""
    frames = np.zeros((60, 48, 48, 1), np.float32)
    for t in range(60):
        for y, x in ((4, 6), (20, 30), (38, 12)):
            rows, columns = ((a + b * t + np.arange(8)) % 48 for a, b in ((y, 1), (x, 2)))
            frames[t, rows[:, None], columns] = 5
            frames[t, rows[2:6, None], columns[2:6]] = 20
    with write_clips(tmp_path / "clips.h5", "cells", "none", ("rain",), unit="mm/h") as writer:
        for split in SPLITS:
            writer.add_clip(split, split, frames)
    return tmp_path


def test_rain_scores_of_cells_that_drift(cells):
    config = dataclasses.replace(CONFIG, rain_thresholds=(1.0, 10.0), test_sequences=100)
    task = build(cells, config)
    scores = task.evaluate(Last(), "test").baselines
    # a square of n pixels that is off by (dy, dx) overlaps in (n - dy) (n - dx) of its n n pixels
    for name, n in (("1", 8), ("10", 4)):
        for lead in (1, 2):
            hits = max(0, n - lead) * max(0, n - 2 * lead)
            by = scores["copy last"].by["frame"]
            assert by[f"csi {name}"][str(lead)] == pytest.approx(hits / (2 * n * n - hits))
            assert by[f"pod {name}"][str(lead)] == pytest.approx(hits / n**2)
            assert by[f"far {name}"][str(lead)] == pytest.approx(1 - hits / n**2)
    for name in ("csi 1", "pod 1", "fss 1", "csi 10", "fss 10"):  # what moves on with its speed is found again
        assert scores["optical flow"][name] > scores["copy last"][name] + 0.1
    assert scores["optical flow"]["far 1"] < scores["copy last"]["far 1"] - 0.1
    assert scores["copy last"]["fss 1"] > scores["copy last"]["csi 1"]  # near misses count


class Everywhere(nn.Module):
    """One value everywhere."""

    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))

    def forward(self, past):
        return self.value + 0 * past[:, :2]


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_errors_weigh_by_the_rain_that_came(cells, loss):
    weighted = build(
        cells, dataclasses.replace(CONFIG, rain_thresholds=(1.0, 10.0), rain_weights=(3.0, 7.0), loss=loss)
    )
    batch = weighted.batch(torch.tensor(0), weighted.fetch(0))
    net = Everywhere()
    got = weighted.loss(net, batch, torch.tensor(0))
    (mean,), (std,) = weighted.spec.mean, weighted.spec.std
    rain = (batch[1] * std + mean).round().numpy()
    assert set(np.unique(rain)) == {0.0, 5.0, 20.0}
    weight = np.select([rain >= 10, rain >= 1], [7.0, 3.0], 1.0)
    error = np.abs(batch[1].numpy())
    assert got.item() == pytest.approx((weight * (error**2 if loss == "mse" else error)).mean(), rel=1e-5)
    if loss == "mse":  # its minimum is the weighted mean
        net.value.data.fill_(float((weight * batch[1].numpy()).sum() / weight.sum()))
        weighted.loss(net, batch, torch.tensor(0)).backward()
        assert net.value.grad is not None
        assert net.value.grad.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rain_thresholds": (2.0, 1.0)}, "expected rising values"),
        ({"rain_thresholds": (1.0,), "rain_weights": (1.0, 2.0)}, "expected one for each of 1 rain_thresholds, got 2"),
        ({"rain_thresholds": (1.0,), "rain_weights": (-1.0,)}, "expected 0 or more"),
        ({"rain_thresholds": (1.0,), "rain_weights": (2.0,), "anomalies": True}, "not of anomalies"),
    ],
)
def test_weights_that_make_no_sense_are_named(changes, message):
    with pytest.raises(BadInput, match=message):
        dataclasses.replace(CONFIG, **changes)


@pytest.mark.parametrize("anomalies", [False, True])
def test_augmentation_turns_half_of_the_windows_whole(video, anomalies):
    """Anomalies are turned as they are, not taken from a turned frame: what is usual is so at its own place."""
    config = dataclasses.replace(CONFIG, anomalies=anomalies)
    plain = build(video, config, batch_size=16)
    config = dataclasses.replace(config, augment=("flip_x", "transpose"))
    turned = build(video, config, batch_size=16)
    fetched = plain.fetch(0)
    before, after = (torch.cat(t.batch(torch.tensor(0), fetched), 1) for t in (plain, turned))
    ways = [lambda x: x, lambda x: x.flip(-1), lambda x: x.transpose(-1, -2), lambda x: x.flip(-1).transpose(-1, -2)]
    used = set()
    for a, b in zip(before, after, strict=True):
        used |= {i for i, way in enumerate(ways) if torch.equal(way(a), b)}
        assert any(torch.equal(way(a), b) for way in ways)
    assert len(used) >= 3


def test_training_sees_crops_of_whole_windows_and_evaluation_whole_frames(video):
    plain = build(video, dataclasses.replace(CONFIG, anomalies=True), batch_size=64)
    task = build(video, dataclasses.replace(CONFIG, anomalies=True, augment=("transpose",), crop=(5, 5)), batch_size=64)
    fetched = plain.fetch(0)
    before, after = (torch.cat(t.batch(torch.tensor(0), fetched), 1) for t in (plain, task))
    assert after.shape == (64, 6, 3, 5, 5)
    places, turned = set(), 0
    for a, b in zip(before, after, strict=True):
        found = [(y, x) for y in range(8) for x in range(8) if torch.equal(a[..., y : y + 5, x : x + 5], b)]
        other = [(y, x) for y in range(8) for x in range(8) if torch.equal(a[..., y : y + 5, x : x + 5].mT, b)]
        assert len(found) + len(other) == 1
        turned += len(other)
        places |= {*found, *other}
    assert len(places) > 30
    assert {y for y, _ in places} == {x for _, x in places} == set(range(8))
    assert 16 < turned < 48
    assert task.sequences("val", 0, 1).shape[-2:] == (12, 12)
    with pytest.raises(BadInput, match=r"task\.crop: 13x5 is no part of the 12x12 frames"):
        build(video, dataclasses.replace(CONFIG, crop=(13, 5)))


def month_of(time_s: Any) -> np.ndarray:
    return (time_s // DAY).astype("M8[D]").astype("M8[M]").astype(int) % 12


class Nothing(nn.Module):
    """Predicts that all is as usual; keeps what it saw."""

    def forward(self, past):
        self.seen = past
        return torch.zeros_like(past[:, :2])


def test_anomalies_are_seen_by_the_network_and_scored_as_values(winds):
    task, plain = build(winds, dataclasses.replace(CONFIG, anomalies=True)), build(winds)
    net = Nothing()
    scores = task.evaluate(net, "test")
    ours, theirs = scores.baselines, plain.evaluate(Last(), "test").baselines  # no baseline changes
    for name in theirs:
        assert ours[name]["mse v"] == pytest.approx(theirs[name]["mse v"], rel=1e-3 if "flow" in name else 1e-5)
    parts = read(winds / "clips.h5")[1]
    train_part, test = parts["train"].frames, parts["test"].frames
    months = {split: month_of(part.time_s) for split, part in parts.items()}
    usual = np.stack([train_part[months["train"] == m].mean(0) for m in range(12)])
    waves = np.fft.rfft(usual, axis=0)
    waves[3:] = 0  # two harmonics of the year are kept
    usual = np.fft.irfft(waves, 12, axis=0)
    std = (train_part - usual[months["train"]]).std((0, 1, 2))
    np.testing.assert_allclose(task.spec.std, std, rtol=1e-5)
    assert (task.spec.mean, task.spec.anomalies) == ((0.0,), "month")
    starts = np.arange(8) * 2
    rows = [starts[i * 8 // 5] for i in range(5)]  # five windows, spread over all
    error = np.stack([(test - usual[months["test"]])[s + 4 : s + 6] for s in rows])
    assert scores["mse"] == pytest.approx((error**2).mean(), rel=1e-5)  # a network that predicts no anomaly
    past = np.stack([(test - usual[months["test"]])[s : s + 4] for s in rows]) / std
    np.testing.assert_allclose(net.seen, past.transpose(0, 1, 4, 2, 3), atol=1e-5)
    # in training the same, with the order of the windows
    anomalies, future = task.batch(torch.tensor(3), task.fetch(3))
    whole = task.sequences("train", 12, 16)
    u = task.usual
    assert u is not None
    data: Any = task.data
    month = month_of(data.windows.times("train", np.arange(12, 16)))
    expected = whole - u[month] / torch.tensor(task.spec.std).view(-1, 1, 1)
    torch.testing.assert_close(torch.cat([anomalies, future], 1), expected)


def test_the_usual_frame_of_a_still_camera_is_the_median(video):
    task = build(video, dataclasses.replace(CONFIG, anomalies=True))
    net = Nothing()
    scores = task.evaluate(net, "test")
    parts = read(video / "clips.h5")[1]
    scene, test = np.median(parts["train"].frames, 0) / 255, parts["test"].frames / 255
    error = np.mean([((scene - test[s : s + 2]) ** 2).sum((1, 2, 3)).mean() for s in (4, 6)])
    assert scores["mse"] == pytest.approx(error, rel=1e-4)  # of values, not of anomalies that are clipped to [0, 1]
    assert (task.spec.anomalies, task.spec.std) == ("", (1.0,))


def test_what_cannot_be_augmented_is_refused(winds):
    with pytest.raises(BadInput, match="transpose needs square frames or crops"):
        build(winds, dataclasses.replace(CONFIG, augment=("transpose",)))
    with pytest.raises(BadInput, match="whose directions mean something"):
        build(winds, dataclasses.replace(CONFIG, augment=("flip_x",)))


def recipe() -> RunConfig:
    return RunConfig(
        name="clips",
        task=CONFIG,
        model=SimVPConfig(width=4, layers=2, translator=MogaTranslatorConfig(width=16, depth=2, ffn_ratio=2)),
        optim=OptimConfig(algorithm="adamw", lr=2e-3),
        steps=6,
        batch_size=4,
        accumulate=2,
        validate_every=3,
    )


def test_a_run_on_data_from_a_disk_resumes_to_the_bit(video, monkeypatch):
    straight = train(recipe(), Runtime(device="cpu", data_root=video, runs=video / "a", log_every=1))

    class Killed(BaseException):
        pass

    original = Update.__call__

    def until(self, number, fetched):
        if number == 4:
            raise Killed
        original(self, number, fetched)

    monkeypatch.setattr(Update, "__call__", until)
    runtime = Runtime(device="cpu", data_root=video, runs=video / "b", log_every=1, save_every=0.0)
    with pytest.raises(Killed):
        train(recipe(), runtime)
    monkeypatch.setattr(Update, "__call__", original)
    again = train(recipe(), runtime)
    a, b = (checkpoint.load(folder / "last.pt") for folder in (straight, again))
    for name, value in a["net"].items():
        assert torch.equal(value, b["net"][name]), name
