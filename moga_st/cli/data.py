"""`moga-st data RECIPE` and `moga-st data prepare NAME SRC`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

from moga_st import recipes
from moga_st.cli.recipe_flags import recipe_argument
from moga_st.cli.tables import fact_lines
from moga_st.config import data_root
from moga_st.errors import BadInput


@dataclass(frozen=True)
class Data:
    """Find a recipe's data, check it, say what it is; with --export write sequences of it."""

    split: Literal["train", "val", "test"] = "test"
    """Which sequences to export."""
    count: int = 1
    """How many."""
    export: Path | None = None
    """A .npy file to write them to: (t, h, w), or (count, t, h, w) for more than one, with a channel axis behind t
    where there are several; uint8 for images, else as a network sees them."""
    data_root: Path | None = None
    """Folder that holds the data; default MOGA_ST_DATA, then datasets/ of the checkout."""
    json: bool = False
    """Print what was found as JSON."""


@dataclass(frozen=True)
class Prepare:
    """Turn downloaded motion data into the one HDF5 file that recipes read."""

    name: Positional[Literal["cmu-mocap", "human3.6m"]]
    """Which data set."""
    source: Positional[Path]
    """Folder or file, in any of the formats that datasets/NAME/README.md lists."""
    out: Path | None = None
    """File to write; default NAME.h5 in the data root."""
    src_fps: float = 120.0
    """Frame rate of CMU's .amc files: 120 for most, 60 for a few."""
    data_root: Path | None = None
    """Folder that holds the data; default MOGA_ST_DATA, then datasets/ of the checkout."""


def run(argv: list[str]) -> None:
    if argv[:1] == ["prepare"]:
        _prepare(tyro.cli(Prepare, prog="moga-st data prepare", args=argv[1:]))
        return
    recipe, rest = recipe_argument("data", argv)
    args = tyro.cli(Data, prog=f"moga-st data {recipe}", args=rest)
    import numpy as np
    import torch

    from moga_st.tasks.task import Setting
    from moga_st.tasks.video import VideoPrediction

    root = data_root(args.data_root)
    task = recipes.load(recipe).task.build(Setting(torch.device("cpu"), root))
    facts = {**task.facts, "data_root": str(root), "fingerprint": task.data_fingerprint}
    if args.export is not None:
        if not isinstance(task, VideoPrediction):
            raise BadInput(f"--export: {recipe} has no sequences of frames")
        if args.count < 1:
            raise BadInput(f"--count: expected at least 1, got {args.count}")
        frames = task.sequences(args.split, 0, args.count).squeeze(2)
        if not task.spec.unit:  # images
            frames = (frames * 255).round().to(torch.uint8)
        frames = frames.numpy()
        np.save(args.export, frames if args.count > 1 else frames[0])
        facts["written"] = str(args.export)
    print(json.dumps(facts, indent=2) if args.json else fact_lines(facts))


def _prepare(args: Prepare) -> None:
    from moga_st.data.pose import human36m, mocap
    from moga_st.data.pose import prepared_poses as prepared

    out = args.out or data_root(args.data_root) / f"{args.name}.h5"
    if out.exists():
        raise BadInput(f"{out}: exists already; remove it, or name another file with --out")
    if not args.source.exists():
        raise BadInput(f"{args.source}: no such file or folder")
    if args.name == "cmu-mocap":
        mocap.prepare(args.source, out, args.src_fps)
    else:
        human36m.prepare(args.source, out)
    print(prepared.describe(out))
