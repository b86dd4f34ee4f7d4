"""What users have from before, and what they add: old runs and weights, packages of their own, other systems."""

import configparser
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import moga_st
from moga_st import checkpoint, pretrained
from moga_st.config import Config, ModelConfig
from moga_st.data.pose.sources import PoseDataConfig
from moga_st.data.video import digits
from moga_st.engine import RunConfig, Runtime, train
from moga_st.engine.run import run_folder
from moga_st.errors import BadInput
from moga_st.models.simvp import SimVPConfig
from moga_st.tasks.moving_digits import MovingDigitsConfig
from tests.tiny_clips import write_tiny_clips

ROOT = Path(moga_st.__file__).parents[1]
OLD = Path(__file__).parent / "golden" / "run_09188e8"
FOLDER = OLD / "old" / "e6e9eb85"


@pytest.fixture
def offline(monkeypatch):
    """The run of commit 09188e8 was made on the digits that come with a package."""

    def download(*_: object) -> Path:
        raise OSError("offline")

    monkeypatch.setattr(digits, "_download", download)


@pytest.mark.filterwarnings("ignore:MNIST is not in")
@pytest.mark.usefixtures("offline")
def test_a_run_of_before_goes_on_as_it_would_have(tmp_path):
    """Four of eight updates were done by commit 09188e8; what it gave after eight stands here."""
    runs = tmp_path / "runs"
    shutil.copytree(OLD, runs)
    config = RunConfig.from_dict(json.loads((FOLDER / "run.json").read_text())["config"])
    folder = train(config, Runtime(device="cpu", data_root=tmp_path, runs=runs, log_every=1))
    assert folder == runs / "old" / "e6e9eb85"  # found again, not begun anew
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    scores = {line["step"]: line["val/mse"] for line in lines if "val/mse" in line}
    expected = json.loads((OLD / "went_on.json").read_text())
    assert losses == {int(k): pytest.approx(v, rel=1e-3) for k, v in expected["loss"].items()}
    assert scores == {int(k): pytest.approx(v, rel=1e-3) for k, v in expected["val/mse"].items()}


def test_weights_of_before_load_and_know_their_input():
    weights = pretrained.read_weights(FOLDER / "best.safetensors")
    assert isinstance(weights.model, SimVPConfig)
    assert isinstance(RunConfig.from_dict(weights.about["run"]).task, MovingDigitsConfig)
    assert weights.spec is not None
    assert weights.spec.shape == (4, 1, 32, 32)
    assert weights.spec.target == (4, 1, 32, 32)
    with torch.no_grad():
        assert moga_st.load_model(FOLDER)(torch.zeros(1, 4, 1, 32, 32)).isfinite().all()


def test_a_field_with_a_default_changes_no_runs_identity(tmp_path):
    config = RunConfig.from_dict(json.loads((FOLDER / "run.json").read_text())["config"])
    written = json.loads((FOLDER / "run.json").read_text())
    for name in ("seed", "precision"):  # as if these had come later
        del written["config"][name]
    folder = tmp_path / "old" / "0123abcd"  # a label of another time
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(written))
    assert run_folder(config, tmp_path) == folder
    assert run_folder(dataclasses.replace(config, seed=1), tmp_path) != folder


def test_every_kind_is_short_and_told_once():
    kinds = {}
    for base in (ModelConfig, PoseDataConfig, *Config.__subclasses__()):
        for kind, cls in base.kinds().items():
            if cls.__module__.startswith("moga_st."):
                assert ":" not in kind, f"{cls} has no kind of its own"
                assert kinds.setdefault(kind, cls) is cls
    assert {"simvp", "lifter", "moganet", "moving_digits", "clips", "pose", "mnist", "cmu"} <= kinds.keys()


def test_every_package_is_installed():
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = set(metadata["options"]["packages"].split())
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "moga_st").rglob("__init__.py")}
    found |= {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "moga_st").rglob("*.py")}
    assert {p for p in listed if "experiments" not in p} == found


THIRD_PARTY = '''
from dataclasses import dataclass
import torch
from torch import nn
from moga_st.data.video.digits import Digits, DigitsConfig
from moga_st.engine import RunConfig
from moga_st.models.simvp import SimVPConfig, TranslatorConfig
from moga_st.optim import OptimConfig
from moga_st.scores import Score, Scores
from moga_st.spec import InputSpec
from moga_st.tasks.moving_digits import MovingDigitsConfig
from moga_st.data.video.moving_mnist import MotionConfig
from moga_st.tasks.task import TaskConfig


@dataclass(frozen=True)
class BarsConfig(DigitsConfig, kind="third_party_bars"):
    def load(self, root):
        bars = torch.zeros(12, 8, 8, dtype=torch.uint8)
        for i in range(12):
            bars[i, :, i % 8] = 255
        return Digits(bars[:8], bars[8:10], bars[10:], "bars", "bars")


@dataclass(frozen=True)
class MixConfig(TranslatorConfig, kind="third_party_mix"):
    time_axis = True
    wide: int = 1

    def build(self, frames, channels, grid):
        assert grid == (8, 8)
        return nn.Conv3d(frames, frames, (1, 2 * self.wide + 1, 2 * self.wide + 1), padding=(0, self.wide, self.wide))


@dataclass(frozen=True)
class MeanConfig(TaskConfig, kind="third_party_mean"):
    """Give the mean of four numbers."""

    def build(self, setting):
        return Mean(setting)


class Mean:
    monitor, data_fingerprint, facts = "error", "numbers", {"data": "random numbers"}
    spec = InputSpec((4,), (1,))

    def __init__(self, setting):
        self.setting = setting

    def fetch(self, index):
        return torch.rand(self.setting.batch_size, 4, generator=torch.Generator().manual_seed(index))

    def batch(self, index, fetched):
        return fetched, fetched.mean(1, keepdim=True)

    def loss(self, net, batch, step):
        return (net(batch[0]) - batch[1]).square().mean()

    def evaluate(self, net, split="val"):
        x = self.fetch(10**6)
        return Scores(Score({"error": (net(x) - x.mean(1, keepdim=True)).abs().mean().item()}))

    def examples(self, net, split="test"):
        return []


def config():
    return RunConfig(
        name="third_party",
        task=MovingDigitsConfig(frames_in=4, frames_out=4, digits=BarsConfig(), motion=MotionConfig(frame_size=16),
                                val_sequences=4, test_sequences=4),
        model=SimVPConfig(width=4, layers=2),
        optim=OptimConfig(algorithm="adamw", lr=1e-2),
        steps=4, batch_size=4, validate_every=2,
    )
'''

LINEAR = """
from dataclasses import dataclass
from torch import nn
from moga_st.config import ModelConfig
from moga_st.engine import RunConfig
from moga_st.optim import OptimConfig
from third_party import MeanConfig


@dataclass(frozen=True)
class LinearConfig(ModelConfig, kind="third_party_linear"):
    def build(self):
        return nn.Linear(4, 1)


def config():
    return RunConfig(name="mean", task=MeanConfig(), model=LinearConfig(), optim=OptimConfig(algorithm="adamw", lr=0.1),
                     steps=300, batch_size=16, validate_every=300)
"""


def test_a_package_of_ones_own_adds_data_translator_and_task(tmp_path):
    """Nothing of this package is touched or told of it; its translator is picked by its kind on the command line."""
    (tmp_path / "third_party.py").write_text(THIRD_PARTY)
    (tmp_path / "linear.py").write_text(LINEAR)
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "OMP_NUM_THREADS": "1"}

    def moga_st_command(*argv: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "moga_st", *argv, "--device", "cpu", "--data-root", str(tmp_path)]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)

    flags = ["--model.translator", "third_party_mix", "--model.translator.wide", "2"]
    video = moga_st_command("train", "third_party.py", *flags)
    assert video.returncode == 0, video.stderr
    run = json.loads((tmp_path / video.stdout.strip() / "run.json").read_text())
    assert run["config"]["model"]["translator"] == {"kind": "third_party_mix", "wide": 2}
    assert run["config"]["task"]["digits"] == {"kind": "third_party_bars"}
    scored = moga_st_command("eval", video.stdout.strip(), "--recipe", "third_party.py", "--json")
    assert scored.returncode == 0, scored.stderr
    mean = moga_st_command("train", "linear.py")
    assert mean.returncode == 0, mean.stderr
    assert json.loads((tmp_path / mean.stdout.strip() / "run.json").read_text())["state"]["best"] < 0.05


def test_an_unknown_translator_is_named(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "moga_st", "train", "mmnist_demo", "--model.translator", "mogaa"]
    result = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert "--model.translator mogaa: unknown kind (did you mean 'moga'?)" in result.stderr


WITHOUT = """
import sys, os, signal, subprocess
subprocess.Popen.kill = lambda self: self.send_signal(9)  # here it asks for SIGKILL by name, there it does not
for module in ("fcntl", "resource"):  # what Windows does not have
    sys.modules[module] = None
for name in ("SIGKILL", "SIGHUP"):
    if hasattr(signal, name):
        delattr(signal, name)
for name in ("fork", "preadv", "pidfd_open", "sched_getaffinity", "sched_setaffinity", "sysconf"):
    if hasattr(os, name):
        delattr(os, name)
os.environ.pop("HOME", None)
from moga_st.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("recipe", ["tiny.py", "tiny_clips.py"])
def test_it_trains_and_predicts_where_posix_is_not_and_the_locale_is_ascii(tmp_path, recipe):
    write_tiny_clips(tmp_path)
    channels = 2 if "clips" in recipe else 1
    np.save(tmp_path / "clip.npy", np.random.default_rng(0).integers(0, 256, (8, 16, 16, channels), np.uint8))
    env = {k: v for k, v in os.environ.items() if k not in ("HOME", "LANG", "LC_ALL")}
    env |= {"PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    env |= {"RANK": "3", "WORLD_SIZE": "8"}  # of somebody else

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", WITHOUT, *arguments, "--device", "cpu"]
        result = subprocess.run(command, env=env, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    where = ("--data-root", str(tmp_path), "--runs", str(tmp_path / "runs"), "--steps", "2")
    weights = Path(run("train", str(Path(__file__).parent / recipe), *where)) / "best.safetensors"
    run("predict", str(weights), str(tmp_path / "clip.npy"), "--out", str(tmp_path / "out"))
    assert np.isfinite(np.load(tmp_path / "out" / "clip_predicted.npy")).all()


@pytest.mark.filterwarnings("ignore:MNIST is not in")
@pytest.mark.usefixtures("offline")
def test_weights_to_start_from_say_what_was_taken(tmp_path, capsys):
    config = RunConfig.from_dict(json.loads((FOLDER / "run.json").read_text())["config"])
    assert isinstance(config.model, SimVPConfig)
    wider = dataclasses.replace(config.model, layers=3)
    runtime = Runtime(device="cpu", data_root=tmp_path, runs=tmp_path / "runs", log_every=1)
    started = dataclasses.replace(config, name="more", model=wider, steps=1, init=str(FOLDER))
    folder = train(started, runtime)
    said = capsys.readouterr().err
    assert "took" in said
    assert "fresh: encoder.layers.2" in said
    given = pretrained.read_weights(FOLDER / "best.safetensors").tensors
    after = checkpoint.load(folder / "last.pt")["net"]
    # one update at a rate of 8e-5 away from where it started
    name = "translator.blocks.0.block.channel.expand.weight"
    assert (after[name] - given[name]).abs().max() < 1e-3
    with pytest.raises(BadInput, match="no such weights file"):
        train(dataclasses.replace(started, name="none", init="/none"), runtime)
