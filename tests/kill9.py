"""``make kill``: at least 200 processes that train, prepare data, export or convert, ended by SIGKILL.

python -m tests.kill9 [--kills N] [--seed S] [--record FILE]

Every other one ends at a random moment of its life, the rest while they write a file.  Every piece of work is begun
again, by the same command, until one process gets through.  Then what is there must equal, to the bit, what an
undisturbed process made, with nothing beside it.  A process is a fork of this one, which has imported all there is to
import and computes nothing, so that a life lasts seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.utils.tensorboard
from PIL import Image

from moga_st import checkpoint, pretrained, recipes
from moga_st.cli import convert, data, export, prepare_clips, train
from moga_st.cli import main as run_verb
from moga_st.export import write as whole_networks
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.record import provenance
from moga_st.report import write
from moga_st.storage import write_json

IMPORTED = (convert, data, export, prepare_clips, train, whole_networks, write)  # before the forks
RECIPE = str(Path(__file__).parent / "tiny.py")
TRAINING = ["--device", "cpu", "--log-every", "1", "--save-every", "0", "--steps", "4", "--validate-every", "2"]
WRITING_S = 0.01
"""About as long as a file takes to be written."""
SIZE = ["--size", "16"]
NET = SimVPConfig(frames_in=4, width=32, layers=2, translator=MogaTranslatorConfig(width=256, depth=6))
SMALL = SimVPConfig(frames_in=4, width=4, layers=2, translator=MogaTranslatorConfig(width=16, depth=2))


class Work(NamedTuple):
    """What is done in a folder of its own, over and over."""

    share: float
    """Of the kills."""
    argv: Callable[[Path], list[str]]
    ready: Callable[[Path], None]
    """Lays out what it reads, in an empty folder."""
    result: Callable[[Path], object]
    """What it made, to be compared to the bit."""
    whole: Callable[[Path], bool] = lambda _: False
    """Whether all is there, so that the same command would refuse to do it again."""


def run_folder(folder: Path) -> Path:
    (run,) = (folder / "runs/tiny").iterdir()
    return run


def trained(folder: Path) -> object:
    """State, weights and log of a run, without times, and the names of all its files."""
    run = run_folder(folder)
    state = checkpoint.load(run / "last.pt")
    del state["state"]["seconds"]
    weights = pretrained.read_weights(run / "best.safetensors").tensors
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    log = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    pieces = {f"last.pt.{i}" for i, _ in enumerate(run.glob("last.pt.*.*"))}
    names = {p.name for p in run.iterdir() if not p.name.startswith("last.pt.")} | pieces
    return plain(state), plain(weights), log, sorted(names)


def plain(value: object) -> object:
    """Tensors as bytes, which compare exactly."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().reshape(-1).numpy().tobytes()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def clips(folder: Path) -> None:
    rng = np.random.default_rng(0)
    (folder / "in").mkdir()
    for i in range(20):
        np.save(folder / f"in/{i:02d}.npy", rng.integers(0, 256, (60, 64, 64), np.uint8))


def weights(folder: Path) -> None:
    torch.manual_seed(0)
    pretrained.export_weights(folder / "in.safetensors", NET.build(), NET, {})


def network(folder: Path) -> None:
    """Weights and a clip to check their export on."""
    torch.manual_seed(0)
    pretrained.export_weights(folder / "in.safetensors", SMALL.build(), SMALL, {})
    np.save(folder / "clip.npy", np.random.default_rng(0).random((8, 16, 16), np.float32))


def exported(name: str, share: float) -> Work:
    """`export` to a file of this name."""
    return Work(
        share,
        lambda f: ["export", *(str(f / n) for n in ("in.safetensors", name)), "--check", str(f / "clip.npy"), *SIZE],
        network,
        only_file(name),
        lambda f: (f / name).exists(),
    )


def only_file(name: str) -> Callable[[Path], object]:
    return lambda folder: (sorted(p.name for p in folder.iterdir()), (folder / name).read_bytes())


WORKS = {
    "train": Work(
        0.2,
        lambda f: ["train", RECIPE, "--data-root", str(f), "--runs", str(f / "runs"), *TRAINING],
        lambda _: None,
        trained,
    ),
    "data prepare": Work(
        0.4,
        lambda f: ["data", "prepare", "clips", str(f / "in"), "--out", str(f / "out.h5")],
        clips,
        only_file("out.h5"),
        lambda f: (f / "out.h5").exists(),
    ),
    "export .onnx": exported("out.onnx", 0.03),
    "export .pt2": exported("out.pt2", 0.05),
    "convert": Work(
        0.32,
        lambda f: ["convert", "--from", "moga_st", "--half", str(f / "in.safetensors"), str(f / "out.safetensors")],
        weights,
        only_file("out.safetensors"),
    ),
}


def live(argv: list[str], seconds: float | None, writes_in: Path | None = None) -> tuple[int, float]:
    """One life: its exit code, or -9 if it was ended; and how long it lasted.

    Args:
        seconds: when it is ended; not at all if left out.
        writes_in: it is ended so many seconds after it began to write a file in this folder, if it does.
    """
    start = time.monotonic()
    child = os.fork()
    if not child:
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        torch.set_num_threads(1)
        checkpoint.PIECE = 65_536  # so that states are in pieces
        try:
            run_verb(argv)
        except SystemExit as leaving:
            os._exit(leaving.code if isinstance(leaving.code, int) else 1)
        finally:
            os._exit(99)
    known = set() if writes_in is None else parts(writes_in)  # of lives before
    since = start if writes_in is None else None
    while seconds is not None and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if since is None and writes_in is not None and parts(writes_in) - known:
            since = time.monotonic()
        if since is not None and time.monotonic() - since >= seconds:
            os.kill(child, signal.SIGKILL)
            break
        time.sleep(0.0005)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), time.monotonic() - start


def parts(folder: Path) -> set[Path]:
    """Files that are being written, or that a life left unfinished."""
    return set(folder.rglob(".*.part*"))


def in_child(call: Callable[[], None]) -> None:
    """Call something that computes: this process must not, or its forks would wait for threads that they lack."""
    child = os.fork()
    if not child:
        call()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def kill_often(work: Work, kills: int, rng: random.Random) -> dict[str, object]:
    """Rounds of a work until ``kills`` processes have been ended; raises AssertionError for a wrong result."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "straight"
        folder.mkdir()
        in_child(lambda: work.ready(folder))
        code, lasts_s = live(work.argv(folder), None)
        assert code == 0, f"undisturbed: exit code {code}"
        expected, killed, rounds, found = work.result(folder), 0, 0, Counter[str]()
        while killed < kills:
            again = Path(place) / f"round{rounds}"
            again.mkdir()
            in_child(lambda again=again: work.ready(again))
            while True:
                before = parts(again)
                if killed >= kills:
                    code, took_s = live(work.argv(again), None)
                elif killed % 2:
                    code, took_s = live(work.argv(again), rng.random() * WRITING_S, again)
                else:
                    code, took_s = live(work.argv(again), rng.random() * lasts_s)
                if code == 0:
                    lasts_s = min(lasts_s, took_s)  # the moments are spread over all of a life
                    break
                assert code == -signal.SIGKILL, f"after {killed} kills: exit code {code}"
                killed += 1
                if work.whole(again):
                    break  # it was ended between its last act and its end
                found.update(p.name.split("-")[0].rpartition(".")[0] for p in parts(again) - before)
            result = work.result(again)
            assert result == expected, f"round {rounds}: differs from what an undisturbed process made"
            rounds += 1
    about = {"kills": killed, "rounds": rounds, "equal": rounds, "life_s": round(lasts_s, 2)}
    return {**about, "caught_writing": dict(sorted(found.items()))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=204, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="write the counts here, as JSON")
    args = parser.parse_args()
    Image.init()
    recipes.load(RECIPE)
    rng, counts = random.Random(args.seed), {}
    for name, work in WORKS.items():
        counts[name] = kill_often(work, -(-int(args.kills * work.share * 1000) // 1000), rng)
        print(f"{name:14} {counts[name]}", flush=True)
    total = sum(int(str(c["kills"])) for c in counts.values())
    print(f"{total} processes killed; every work went on to the same bits, with nothing left beside them")
    if args.record:
        about = {"kills": total, "works": counts, "seed": args.seed, "argv": [Path(sys.argv[0]).name, *sys.argv[1:]]}
        write_json(args.record, {**about, **provenance(torch.device("cpu"))})


if __name__ == "__main__":
    main()
