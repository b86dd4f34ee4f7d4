"""What verbs write: never through a link that somebody laid at a name, and whole or not at all on a full disk."""

import contextlib
import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from moga_st import pretrained
from moga_st.cli import main
from moga_st.models.moganet import MogaNetConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.scores import Score, Scores

TINY = str(Path(__file__).parents[1] / "tiny.py")
RNG = np.random.default_rng(0)
CLIP, PEOPLE, IMAGE = "clip.npy", "k.json", "i.png"


def lay_out(folder: Path) -> None:
    """What the verbs read."""
    np.save(folder / CLIP, RNG.random((20, 64, 64), np.float32))
    people = [{"image_id": i, "category_id": 1, "keypoints": [300.0 + i, 400, 1] * 17, "score": 1} for i in range(3)]
    (folder / PEOPLE).write_text(json.dumps(people))
    Image.new("RGB", (40, 30)).save(folder / IMAGE)
    torch.manual_seed(0)
    config = MogaNetConfig(widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), classes=2)
    about = {"facts": {"test_view": {"size": [32, 32], "crop": 1.0}}}
    pretrained.export_weights(folder / "c.safetensors", config.build(), config, about)
    config = SimVPConfig(frames_in=4, width=32, layers=2, translator=MogaTranslatorConfig(width=128, depth=4))
    pretrained.export_weights(folder / "v.safetensors", config.build(), config, {})
    score = Score({"mse": 1.0}, {})
    scores = Scores(score, {"copy": score}).to_dict()
    (folder / "eval.json").write_text(json.dumps({"weights": "w", "split": "test", "facts": {}, "scores": scores}))


FORMATS = ("--formats", "npz", "bvh", "glb", "csv", "trc")
PICTURES = ("png", "gif", "mp4")
VERBS = {
    "predict": (
        ["predict", "mmnist_compact", CLIP, "--out", "out", "--report"],
        [f"clip_predicted.{s}" for s in (*PICTURES, "npy", "html")],
    ),
    "lift": (
        [
            "lift",
            "lifter_xs_27f",
            PEOPLE,
            "--size-px",
            "900",
            "900",
            "--out",
            "out",
            "--overwrite",
            "--report",
            *FORMATS,
        ],
        [*(f"k_person0_3d.{s}" for s in (*PICTURES, "npz", "bvh", "glb", "csv", "trc")), "k_lift.html"],
    ),
    "classify": (["classify", "c.safetensors", IMAGE, "--cam", "--out", "out"], ["i_classified.png"]),
    "data prepare": (
        ["data", "prepare", "clips", CLIP, "--out", "out/p.h5", "--gap", "0", "--val", "4", "--test", "4"],
        ["p.h5"],
    ),
    "data --export": (["data", TINY, "--data-root", ".", "--count", "22", "--export", "out/e.npy"], ["e.npy"]),
    "convert": (["convert", "--from", "moga_st", "--half", "v.safetensors", "out/w.safetensors"], ["w.safetensors"]),
    "export": (["export", "c.safetensors", "out/e.pt2", "--check", IMAGE], ["e.pt2"]),
    "report": (["report", "eval.json", "--out", "out/r.html"], ["r.html"]),
}


def run(*argv: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(argv))
    return int(left.value.code or 0)


class Disk:
    """Counts the files that are written, and is full from one of them on: what came before is there, and the system
    says so where it would have to let the file last."""

    def __init__(self) -> None:
        self.written, self.full_at, self.flush = 0, 0, os.fsync

    def __call__(self, file: int) -> None:
        if stat.S_ISREG(os.fstat(file).st_mode):  # no folder
            self.written += 1
            if self.written == self.full_at:
                raise OSError(errno.ENOSPC, "No space left on device")
        self.flush(file)

    def fills_at(self, number: int) -> None:
        self.written, self.full_at = 0, number


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()
    monkeypatch.setattr(os, "fsync", disk)
    return disk


def check_full(code: int, said: str, folder: Path) -> None:
    """One line says that there is no space, and no part of a file is left."""
    assert code == 1
    lines = said.splitlines()
    assert "no space left" in lines[-1].lower()
    assert sum(line.startswith("moga-st: ") and "warning" not in line for line in lines) == 1
    for path in folder.rglob("*"):
        assert path.name == ".lock" or not path.name.startswith("."), path
        assert path.is_symlink() or not path.is_file() or path.name == ".lock" or path.stat().st_size, path


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_writes_through_a_link_or_leaves_part_of_a_file(verb, tmp_path, monkeypatch, disk, capsys):
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path)
    argv, names = VERBS[verb]
    (tmp_path / "others").mkdir()
    for full in (False, True):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        for name in names:  # dangling: following it would make a file there
            (out / name).symlink_to(tmp_path / "others" / name)
        disk.fills_at(disk.written if full else 0)  # at the last file
        capsys.readouterr()
        code = run(*argv)
        assert not list((tmp_path / "others").iterdir())
        if full:
            check_full(code, capsys.readouterr().err, out)
        else:
            assert code == 0
        assert sum(not (out / name).is_symlink() and (out / name).is_file() for name in names) == len(names) - full


def test_a_disk_that_fills_up_in_training_and_eval_leaves_whole_files(tmp_path, monkeypatch, disk, capsys):
    monkeypatch.chdir(tmp_path)
    train = ("train", TINY, "--device", "cpu", "--data-root", ".", "--steps", "2", "--runs")
    disk.fills_at(0)
    assert run(*train, "runs") == 0
    (folder,) = (tmp_path / "runs/tiny").iterdir()
    last = disk.written
    for at in (1, last // 2, last):
        disk.fills_at(at)
        capsys.readouterr()
        check_full(run(*train, f"runs{at}"), capsys.readouterr().err, tmp_path / f"runs{at}")
    with monkeypatch.context() as filled:  # a thread of TensorBoard's writes its file

        def no_space(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        disk.fills_at(0)
        filled.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", no_space)
        capsys.readouterr()
        code, said = run(*train, "runs_"), capsys.readouterr().err
        check_full(code, said, tmp_path / "none")
        assert "Traceback" not in said
    score = ("eval", str(folder), "--recipe", TINY, "--data-root", ".", "--out")
    disk.fills_at(0)
    assert run(*score, "whole") == 0
    for at in (1, disk.written):
        disk.fills_at(at)
        capsys.readouterr()
        check_full(run(*score, f"eval{at}"), capsys.readouterr().err, tmp_path / f"eval{at}")
    disk.fills_at(1)
    (folder / "examples.npz").unlink(missing_ok=True)
    capsys.readouterr()
    check_full(run("report", str(folder), "--recipe", TINY, "--data-root", "."), capsys.readouterr().err, folder)


def test_training_and_eval_write_through_no_link_of_a_strangers_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train = ("train", TINY, "--device", "cpu", "--runs", "runs", "--data-root", ".", "--steps", "2")
    assert run(*train) == 0
    (folder,) = (tmp_path / "runs/tiny").iterdir()
    assert run("eval", str(folder), "--recipe", TINY, "--data-root", ".") == 0
    written = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("events")]
    assert {"best.safetensors", "last.pt", "run.json", "metrics.jsonl", ".lock", "eval.json"} <= {
        p.name for p in written
    }
    keep = {".lock", "best.safetensors", "last.pt", "run.json"}
    others = tmp_path / "others"
    others.mkdir()
    for path in [p for p in written if p.name not in keep]:
        victim = others / path.name
        victim.write_text("mine")
        path.unlink()
        path.symlink_to(victim)
    (others / "metrics.jsonl").write_text("")  # which is read, too
    run(*train)
    run("eval", str(folder), "--recipe", TINY, "--data-root", ".")
    for victim in others.iterdir():
        assert victim.read_text() == ("" if victim.name == "metrics.jsonl" else "mine"), victim.name
    for name in (".lock", "tensorboard", "eval"):
        place = folder / name
        place.rename(folder / f"{name}_before")
        place.symlink_to(others)
        assert run(*(train if name != "eval" else ("eval", str(folder), "--recipe", TINY, "--data-root", "."))) == 2
        place.unlink()
        (folder / f"{name}_before").rename(place)
    assert {v.name for v in others.iterdir() if v.is_dir() or v.name.startswith("events")} == set()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 kB; where the system lets nobody mount one, nothing can be tested."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            yield disk
            subprocess.run(["umount", "-l", str(disk)], check=True)
            return
    pytest.skip("no disk can be mounted here: needs root")


FULL = {name: VERBS[name] for name in ("predict", "lift", "data prepare", "data --export", "convert", "report")}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a disk as Linux does")
@pytest.mark.parametrize("verb", FULL)
def test_a_full_disk_is_one_line_and_leaves_no_part_of_a_file(verb, tmp_path, small_disk, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path)
    (tmp_path / "out").symlink_to(small_disk)  # the user's own choice
    (small_disk / "filler").write_bytes(bytes(60_000))
    capsys.readouterr()
    assert run(*FULL[verb][0]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "no space left" in lines[-1]
    assert sum(line.startswith("moga-st: ") and "warning" not in line for line in lines) == 1
    left = [p for p in small_disk.iterdir() if p.name != "filler"]
    assert not any(p.name.startswith(".") or p.stat().st_size == 0 for p in left)
