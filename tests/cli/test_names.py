"""File names, keys and metadata that would move the cursor, hide text or add lines never reach the terminal as they
are, whatever the verb does with them."""

import json
import os
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from moga_st import pretrained
from moga_st.cli import main
from moga_st.data.pose import prepared_poses
from moga_st.data.pose.prepared_poses import MotionClip
from moga_st.data.video import prepared_clips
from moga_st.models.moganet import MogaNetConfig

EVIL = "a\x1b[2J\x07b\u202ec\nmoga-st: all is well"
SHOWN = re.compile(r"\x1b|\x07|\u202e|^moga-st: all is well", re.MULTILINE)


def run(capsys, *argv: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a verb."""
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in argv])
    out, err = capsys.readouterr()
    assert isinstance(left.value.code, int)
    return left.value.code, out, err


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(said: tuple[int, str, str], code: int, *has: str) -> None:
    got, out, err = said
    assert got == code, err
    assert not SHOWN.search(out + err), (out, err)
    for text in has:
        assert text in out + err


@pytest.mark.parametrize(
    "argv",
    [
        *([verb, EVIL] for verb in ("train", "eval", "bench", "data")),
        *(["data", name, EVIL] for name in ("prepare", "describe")),
        *(["data", "prepare", name, EVIL] for name in ("clips", "cmu-mocap", "kth")),
        ["predict", "mmnist_compact", EVIL],
        ["predict", EVIL, EVIL],
        ["classify", EVIL, EVIL],
        ["lift", "lifter_xs_27f", EVIL],
        ["convert", "--from", "openstl", EVIL, "out.safetensors"],
        ["convert", "--from", "openstl", "x.pth", EVIL],
        ["convert", "--from", "mmpose", EVIL, "out.pth"],
        ["export", EVIL, "out.onnx"],
        ["export", "mmnist_compact", EVIL],
        ["export", "mmnist_compact", "out.pt2", "--check", EVIL],
        ["report", EVIL],
        ["interactions", EVIL],
        ["bench", EVIL, "--runtimes"],
        ["lift", "lifter_xs_27f", "k.json", "--truth", EVIL],
        [EVIL],
        ["predict", "mmnist_compact", "clip.npy", EVIL],  # what tyro says
        ["predict", "mmnist_compact", "clip.npy", f"--{EVIL}"],
        ["train", "mmnist_demo", "--model.translator", EVIL],
        ["train", "mmnist_demo", f"--{EVIL}"],
        ["models", EVIL],
    ],
    ids=lambda argv: " ".join("NAME" if EVIL in a else a for a in argv),
)
@pytest.mark.usefixtures("place")
def test_names_given_that_are_refused(argv, capsys):
    check(run(capsys, *argv), 2, r"\x1b[2J\x07b\u202ec")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_of_files_that_are_read_and_written(place, capsys):
    rng = np.random.default_rng(0)
    clip = place / f"{EVIL}.npy"
    np.save(clip, rng.random((20, 64, 64), np.float32))
    check(run(capsys, "predict", "mmnist_compact", clip), 0, r"\x1b[2J\x07b\u202ec\nmoga-st: all is well_predicted.gif")
    (place / "in").mkdir()
    for i in range(6):
        shutil.copy(clip, place / "in" / f"{EVIL}{i}.npy")
    check(
        run(
            capsys, "data", "prepare", "clips", "in", "--out", f"{EVIL}.h5", "--split", "file", "--val", 1, "--test", 1
        ),
        0,
        r"\x1b[2J\x07b",
    )
    check(run(capsys, "data", "describe", f"{EVIL}.h5"), 0, r"\x1b[2J\x07b")
    people = [{"image_id": i, "category_id": 1, "keypoints": [300.0 + i, 400, 1] * 17, "score": 1} for i in range(3)]
    (place / f"{EVIL}.json").write_text(json.dumps(people))
    lifted = run(capsys, "lift", "lifter_xs_27f", f"{EVIL}.json", "--size-px", 900, 900, "--no-draw")
    check(lifted, 0, r"\x1b[2J\x07b")


def test_metadata_of_prepared_files(place, capsys):
    with prepared_clips.write_clips(place / "c.h5", EVIL, EVIL, ("grey",), conventions={EVIL: EVIL}) as writer:
        for split in ("train", "val", "test"):
            writer.add_clip(split, f"{EVIL}/{split}", np.zeros((8, 8, 8, 1), np.uint8))
    check(run(capsys, "data", "describe", "c.h5"), 0, r"licence: a\x1b[2J")
    poses = np.random.default_rng(0).random((5, 17, 3)).astype(np.float32)
    clips = [MotionClip(f"{EVIL}{i}", EVIL, EVIL, 50.0, poses) for i in range(2)]
    prepared_poses.write_poses(place / "p.h5", clips, EVIL, EVIL)
    check(run(capsys, "data", "describe", "p.h5"), 0, r"licence: a\x1b[2J")
    with h5py.File(place / "p.h5", "a") as file:
        file["clips/000000"].attrs["fps"] = EVIL
    check(run(capsys, "data", "describe", "p.h5"), 2, r"\x1b[2J")


def test_metadata_of_weights(place, capsys):
    config = MogaNetConfig(widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), classes=2)
    about = {"facts": {"classes": [EVIL, EVIL + "2"], "test_view": {"size": [32, 32], "crop": 1.0}}}
    torch.manual_seed(0)
    pretrained.export_weights(place / "w.safetensors", config.build(), config, about)
    Image.new("RGB", (40, 30)).save(place / "i.png")
    check(run(capsys, "classify", "w.safetensors", "i.png", "--cam"), 0, r"\x1b[2J")
    check(run(capsys, "eval", "w.safetensors"), 2)
    with pytest.raises(SystemExit):
        main(["classify", "w.safetensors", "i.png", "--json"])
    assert json.loads(capsys.readouterr().out)["top"][0]["class"].startswith(EVIL)


def test_a_warning_is_one_line(place):
    frames = [Image.fromarray(np.full((64, 64), 8 * i, np.uint8)) for i in range(30)]
    clip = place / f"{EVIL}.gif"
    frames[0].save(clip, save_all=True, append_images=frames[1:], duration=100)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    command = [sys.executable, "-m", "moga_st", "predict", "mmnist_compact", clip, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["clip"] == str(clip)
    (line,) = done.stderr.splitlines()
    assert line.startswith("moga-st: warning: ")
    assert "a\\x1b[2J\\x07b\\u202ec moga-st: all is well.gif: " in line


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
@pytest.mark.parametrize(
    "argv",
    [
        *(["predict", "FILE", "c.npy"], ["classify", "FILE", "i.png"], ["lift", "FILE", "k.json"]),
        *(["export", "FILE", "o.onnx"], ["bench", "FILE", "--runtimes"], ["interactions", "FILE"], ["eval", "FILE"]),
        *(["report", "FILE"], ["data", "describe", "FILE"], ["predict", "mmnist_compact", "FILE"]),
        *(["lift", "lifter_xs_27f", "FILE"], ["data", "prepare", "clips", "FILE", "--out", "o.h5"]),
        *(["data", "prepare", name, "FILE", "--out", "o.h5"] for name in ("kth", "cmu-mocap", "motion", "sevir")),
        ["convert", "--from", "openstl", "FILE", "o.safetensors"],
    ],
    ids=" ".join,
)
def test_pipes_and_devices_in_place_of_files_are_refused_at_once(place, argv, capsys):
    np.save(place / "c.npy", np.zeros((20, 64, 64), np.uint8))
    os.mkfifo(place / "pipe.npz")
    (place / "zero.npz").symlink_to("/dev/zero")
    for name in ("pipe.npz", "zero.npz"):
        said = run(capsys, *(name if a == "FILE" else a for a in argv))
        check(said, 2, name)
        assert said[2].count("\n") == 1
