"""`moga-st data RECIPE` and `moga-st data prepare NAME SRC`; for clips see :mod:`moga_st.cli.prepare_clips`."""

from __future__ import annotations

import importlib
import inspect
import json
import typing
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import docstring_parser
import tyro
from tyro.conf import Positional

from moga_st import recipes
from moga_st.cli.parsing import parse
from moga_st.cli.recipe_flags import recipe_argument
from moga_st.cli.tables import fact_lines
from moga_st.config import data_root
from moga_st.errors import BadInput, nearest

DATA_ROOT = "Folder that holds the data; default MOGA_ST_DATA, then datasets/ of the checkout."


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


POSE = {
    **{"cmu-mocap": "mocap", "human3.6m": "human36m"},
    **{"mpi-inf-3dhp": "mpi_inf_3dhp", "motion": "own_motion"},
}
VIDEO = ("kth", "human36m_video", "kitticaltech", "taxibj", "weatherbench", "bair", "kinetics", "sevir")
CONVERTERS = {
    **{name: f"moga_st.data.pose.{module}" for name, module in POSE.items()},
    **{name: f"moga_st.data.video.{name}" for name in VIDEO},
}
"""Data sets that can be prepared: the module whose ``prepare(source, out, ...)`` does it.  The rest of its arguments
are flags, whose help is its docstring's."""


def run(argv: list[str]) -> None:
    if argv[:2] == ["prepare", "clips"] or argv[:1] == ["describe"]:
        from moga_st.cli import prepare_clips

        run_it = prepare_clips.run_describe if argv[0] == "describe" else prepare_clips.run_prepare
        run_it(argv[1 if argv[0] == "describe" else 2 :])
        return
    if argv[:1] == ["prepare"]:
        _prepare(argv[1:])
        return
    recipe, rest = recipe_argument("data", argv)
    args = parse(Data, f"moga-st data {recipe}", rest)
    import torch

    from moga_st.storage import save_npy
    from moga_st.tasks.task import SequenceTask, Setting

    root = data_root(args.data_root)
    task = recipes.load(recipe).task.build(Setting(torch.device("cpu"), root))
    facts = {**task.facts, "data_root": str(root), "fingerprint": task.data_fingerprint}
    if args.export is not None:
        if not isinstance(task, SequenceTask):
            raise BadInput(f"--export: {recipe} has no sequences of frames")
        if args.count < 1:
            raise BadInput(f"--count: expected at least 1, got {args.count}")
        if args.export.suffix != ".npy":
            raise BadInput(f"--export: {args.export}: name the output something.npy")
        frames = task.sequences(args.split, 0, args.count).squeeze(2)
        if not task.spec.unit:  # images
            frames = (frames * 255).round().to(torch.uint8)
        frames = frames.numpy()
        save_npy(args.export, frames if args.count > 1 else frames[0])
        facts["written"] = str(args.export)
    print(json.dumps(facts, indent=2) if args.json else fact_lines(facts))


def _prepare(argv: list[str]) -> None:
    if not argv or argv[0].startswith("-"):
        print(f"usage: moga-st data prepare NAME SRC [FLAGS]\n\nNAME: clips (your own), {', '.join(CONVERTERS)}")
        print("`moga-st data prepare NAME --help` lists the flags, datasets/NAME/README.md what SRC can be")
        raise SystemExit(0 if argv and argv[0] in ("-h", "--help") else 2)
    name, rest = argv[0], argv[1:]
    if name not in CONVERTERS:
        raise BadInput(
            f"data prepare {name!r}: unknown{nearest(name, ['clips', *CONVERTERS])}; there are clips, "
            f"{', '.join(CONVERTERS)}"
        )
    prepare = importlib.import_module(CONVERTERS[name]).prepare
    args: Any = parse(_flags(name, prepare), f"moga-st data prepare {name}", rest)
    out = args.out or data_root(args.data_root) / f"{name}.h5"
    if out.exists():
        raise BadInput(f"{out}: exists already; remove it, or name another file with --out")
    if not args.source.exists():
        raise BadInput(f"{args.source}: no such file or folder")
    if not (args.source.is_file() or args.source.is_dir()):
        raise BadInput(f"{args.source}: is a device, pipe or socket, expected a file or folder")
    own = list(inspect.signature(prepare).parameters)[2:]
    prepare(args.source, out, **{flag: getattr(args, flag) for flag in own})
    kept = importlib.import_module(f"moga_st.data.{'pose.prepared_poses' if name in POSE else 'video.prepared_clips'}")
    print(kept.describe(out))


def _flags(name: str, prepare: Any) -> type:
    """A dataclass of what a converter takes, for tyro."""
    described = docstring_parser.parse(inspect.getdoc(prepare) or "")
    texts = {p.arg_name: " ".join((p.description or "").split()) for p in described.params}
    hints = typing.get_type_hints(prepare)
    source, _, *own = inspect.signature(prepare).parameters.values()
    where = texts.get(source.name, f"Folder or file, in any of the formats that datasets/{name}/README.md lists.")
    fields = [
        ("source", Annotated[Positional[Path], tyro.conf.arg(help=where, metavar="SRC")]),
        *((p.name, Annotated[hints[p.name], tyro.conf.arg(help=texts[p.name])], field(default=p.default)) for p in own),
        ("out", Annotated[Path | None, tyro.conf.arg(help="File to write; default NAME.h5 in the data root.")], None),
        ("data_root", Annotated[Path | None, tyro.conf.arg(help=DATA_ROOT)], None),
    ]
    made = make_dataclass("Prepare", fields, frozen=True)
    made.__doc__ = described.short_description
    return made
