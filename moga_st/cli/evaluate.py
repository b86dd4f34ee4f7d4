"""`moga-st eval RUN_OR_WEIGHTS`: scores beside baselines, eval.json and pictures."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional

from moga_st import recipes
from moga_st.cli.collecting import bring_torch
from moga_st.cli.parsing import named, parse
from moga_st.cli.report import attempt
from moga_st.cli.tables import fact_lines, score_table
from moga_st.config import data_root
from moga_st.errors import BadInput

if TYPE_CHECKING:
    import torch

    from moga_st.engine.config import RunConfig
    from moga_st.pretrained import Weights
    from moga_st.tasks.task import Example, Task


@dataclass(frozen=True)
class Eval:
    """Score weights on the test set beside its baselines, print the table, write eval.json and pictures."""

    target: Annotated[Positional[Path], named("TARGET")]
    """A run's folder (its best weights are taken), a .safetensors file, or the name of weights in the package."""
    recipe: str | None = None
    """Score on this recipe's task instead of the one the weights were trained on."""
    motion: Path | None = None
    """Score a pose lifter on another prepared file of motion (`data prepare motion`), whose people it never saw."""
    subjects: tuple[str, ...] = ()
    """Of that file, score on these subjects; left out, on all."""
    split: Literal["test", "val"] = "test"
    """Which examples."""
    sequences: int | None = None
    """Score only so many of them (the first)."""
    lpips: bool = False
    """Score LPIPS too, on the test set (needs torchvision's AlexNet weights)."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda, cuda:N or mps."""
    data_root: Path | None = None
    """Folder that holds the data; default MOGA_ST_DATA, then datasets/ of the checkout."""
    out: Path | None = None
    """Folder for eval.json and the pictures; default beside the weights (here, for the package's own)."""
    json: bool = False
    """Print the JSON instead of the table."""


def run(argv: list[str]) -> None:
    args = parse(Eval, "moga-st eval", argv)
    bring_torch()
    from moga_st import dist, pretrained
    from moga_st.device import setup

    if args.lpips and args.split != "test":
        raise BadInput("--lpips: is scored on the test set only; leave --split out")
    if args.subjects and args.motion is None:
        raise BadInput("--subjects: are those of a file of --motion; name it")
    path = pretrained.find_weights(args.target)
    if args.recipe is not None:
        recipes.load(args.recipe)  # it may define the model's class
    weights = pretrained.read_weights(path)
    task_config = _changed(run_config(path, weights.about, args.recipe, data_root(args.data_root)).task, args)
    out = _folder(args, path)
    device = setup(args.device)
    try:
        _evaluate(args, argv, path, weights, task_config, out, device)
    finally:
        dist.shutdown()


def _evaluate(
    args: Eval, argv: list[str], path: Path, weights: Weights, task_config: Any, out: Path, device: torch.device
) -> None:
    from moga_st import dist, pretrained
    from moga_st.record import provenance
    from moga_st.storage import escape, make_folder, strict_json, write_text
    from moga_st.tasks.task import Setting, announce

    root = data_root(args.data_root) if args.motion is None else args.motion.parent
    task: Task = task_config.build(Setting(device, root))
    if dist.rank() == 0:
        make_folder(out.parent, out.name)  # before the work, which would be lost
        print(*map(escape, announce(task)), sep="\n", file=sys.stderr)
    net = pretrained.load_model(path, device)
    scores, rank, made_by = task.evaluate(net, args.split), dist.rank(), provenance(device)
    dist.shutdown()  # the rest is done by one process alone
    if rank != 0:
        return
    shipped, about = path.parent == pretrained.SHIPPED, weights.about
    record: dict[str, Any] = {
        "weights": path.stem if shipped else str(path),
        "trained": {
            k: about[k] for k in ("run", "steps", "best_step", "seconds", "made_by", "converted_from") if k in about
        },
        "model": weights.model.to_dict(),
        "split": args.split,
        "scores": scores.to_dict(),
        "facts": task.facts,
        "argv": ["moga-st", "eval", *argv],
        "made_by": made_by,
    }
    if not args.json:
        print(f"{escape(path)}\n{fact_lines(task.facts)}\n\n{args.split}\n{score_table(scores)}", flush=True)
    examples = task.examples(net, args.split)
    pictures = [p for example in examples for p in example.save(out / example.name)]
    record["pictures"] = [p.name for p in pictures]
    text = strict_json(record, 2)
    write_text(out / "eval.json", text)
    written = escape(f"written: {out}/eval.json, {', '.join(p.name for p in pictures)}")
    print(text if args.json else f"\n{written}", flush=True)
    attempt(lambda: _page(out, examples, path, args.split))


def _page(out: Path, examples: list[Example], weights: Path, split: str) -> Path:
    """The page beside eval.json, and the examples that it shows, for pages to come."""
    from moga_st.report.examples import FILE, Kept, save_examples
    from moga_st.report.pages import result_page
    from moga_st.report.results import read_record

    kept = Kept(split, examples)
    save_examples(out / FILE, kept, weights)
    return result_page(read_record(out / "eval.json"), kept).save(out / "eval.html")


def _changed(task: Any, args: Eval) -> Any:
    """The task with what the flags change of it."""
    changes: dict[str, Any] = {"lpips": True} if args.lpips else {}
    if args.sequences is not None:
        changes[f"{args.split}_sequences"] = args.sequences
    for name in changes:
        if name not in {f.name for f in dataclasses.fields(task)}:
            raise BadInput(f"--{name.partition('_')[2] or name}: {type(task).__name__} has no {name}")
    if args.motion is not None:
        changes["data"] = _unseen(task, args.motion, args.subjects)
    return dataclasses.replace(task, **changes)


def _unseen(task: Any, file: Path, subjects: tuple[str, ...]) -> Any:
    """The data of a pose task that has all, or these, of a file's subjects to test on and none to train on."""
    from moga_st.data.pose.prepared_poses import read_contents
    from moga_st.data.pose.sources import OwnMotionConfig, PoseDataConfig

    if not isinstance(getattr(task, "data", None), PoseDataConfig):
        raise BadInput(f"--motion: is for pose lifters; these weights belong to {type(task).__name__}")
    known = sorted({entry.subject for entry in read_contents(file).clips})
    if unknown := sorted(set(subjects) - set(known)):
        raise BadInput(f"--subjects: {file} has no {', '.join(unknown)}; there are {', '.join(known)}")
    return OwnMotionConfig(file.name, test=subjects or tuple(known), only_test=True)


def _folder(args: Eval, path: Path) -> Path:
    """Where the results go; a partial evaluation does not take the place of the whole one."""
    from moga_st import pretrained

    other = "" if args.motion is None else f"_{args.motion.stem}"
    part = (
        other + ("" if args.split == "test" else "_val") + ("" if args.sequences is None else f"_first{args.sequences}")
    )
    beside = Path() if path.parent == pretrained.SHIPPED else path.parent
    return args.out or beside / ("eval" + part if args.target.is_dir() else path.stem + part)


def run_config(path: Path, about: dict[str, Any], recipe: str | None, root: Path) -> RunConfig:
    """The run config behind weights, or that of ``recipe``."""
    from moga_st.engine.config import config_of_weights

    if recipe is not None:
        return recipes.load(recipe)
    try:
        return config_of_weights(about, path, root)
    except BadInput as error:
        raise BadInput(f"{error}; or name a recipe with --recipe") from error
