"""`moga-st interactions MODEL...`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional

from moga_st import recipes
from moga_st.cli.evaluate import run_config
from moga_st.cli.parsing import named, parse
from moga_st.cli.tables import table
from moga_st.config import data_root
from moga_st.errors import BadInput

if TYPE_CHECKING:
    import torch

    from moga_st.analyse.interactions import Game, Interactions


@dataclass(frozen=True)
class InteractionsOf:
    """Measure how strongly parts of an input interact within contexts of every size, J(m) (arXiv 2111.06236), for one
    network or several, and draw the curves: the log-odds of an image's true class, the error of a predicted frame, or
    of a lifted joint."""

    models: Annotated[Positional[tuple[str, ...]], named("MODEL...")]
    """Weights files, runs' folders, names of weights in the package; timm:NAME for a classifier of timm's with its
    pretrained weights, timm:NAME@FILE with those in a file."""
    images: Path | None = None
    """Folder with a folder of images for each class, for classifiers; if left out, the test set of the task that the
    weights were trained on."""
    recipe: str | None = None
    """Take this recipe's test set in place of the one of the weights' own task."""
    examples: int = 10
    """Inputs, spread over all."""
    pairs: int = 10
    """Pairs of parts for each input."""
    contexts: int = 16
    """Contexts for each pair and order; compare networks at equal ones."""
    grid: int | None = None
    """Patches along a side of an image or frame; default 14, or as many as leave them 4 pixels."""
    frame: int = 1
    """Predicted frame whose error counts (video)."""
    joint: str = "LWrist"
    """Joint whose error counts (pose)."""
    pieces: int = 1
    """Parts of time that each joint is cut into (pose)."""
    seconds: float = 600.0
    """Time for all models together; what is left then is not measured (at least one pair of every input is)."""
    seed: int = 0
    """Of pairs and contexts."""
    out: Path = Path("interactions")
    """Results are written to OUT.json and OUT.png."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda, cuda:N or mps."""
    data_root: Path | None = None
    """Folder that holds the data; default MOGA_ST_DATA, then datasets/ of the checkout."""
    json: bool = False
    """Print the JSON."""


def run(argv: list[str]) -> None:
    args = parse(InteractionsOf, "moga-st interactions", argv)
    from moga_st.analyse.interactions import interactions
    from moga_st.device import setup
    from moga_st.record import provenance
    from moga_st.storage import escape, make_folder, strict_json, write_text

    if not args.models:
        raise BadInput("interactions: name at least one model")
    if args.examples < 1:
        raise BadInput(f"interactions: expected at least 1 example, got {args.examples}")
    device = setup(args.device)
    make_folder(args.out.absolute().parent)  # before the work
    found: dict[str, Interactions] = {}
    for model in args.models:
        games = _games(args, model, device)
        seconds = args.seconds / len(args.models)
        found[model] = interactions(games, pairs=args.pairs, contexts=args.contexts, seconds=seconds, seed=args.seed)
        told = found[model]
        print(escape(f"{model}: {told.inputs} inputs, {told.pairs} pairs, {told.seconds:.0f} s"), file=sys.stderr)
    record = {
        "strength": {name: one.to_dict() for name, one in found.items()},
        "argv": ["moga-st", "interactions", *argv],
        "made_by": provenance(device),
    }
    text = strict_json(record, 2)
    written = [args.out.with_name(f"{args.out.name}.{suffix}") for suffix in ("json", "png")]
    write_text(written[0], text)
    _draw(found, written[1])
    print(text if args.json else escape(_table(found), lines=True))
    if not args.json:
        print("\nwritten: " + escape(", ".join(map(str, written))))


def _games(args: InteractionsOf, model: str, device: torch.device) -> list[Game]:
    from moga_st import pretrained
    from moga_st.infer.classify import Classifier, load_classifier
    from moga_st.models import to_device
    from moga_st.tasks.task import Setting

    if model.startswith("timm:"):
        try:
            from moga_st.integrations.timm_weights import load_timm
        except ImportError as error:
            raise BadInput(f"{model}: timm is not installed; pip install 'moga-st[images]'") from error
        name, _, file = model.removeprefix("timm:").partition("@")
        if args.images is None:
            raise BadInput(f"{model}: name a folder of images, with a folder for each class, by --images")
        net, classes, look = load_timm(name, Path(file) if file else None)
        return Classifier(to_device(net, device), classes, look, device).games(args.images, args.examples, args.grid)
    path = pretrained.find_weights(Path(model))
    if args.images is not None:
        return load_classifier(path, device).games(args.images, args.examples, args.grid)
    if args.recipe is not None:
        recipes.load(args.recipe)  # it may define the model's class
    about = pretrained.read_weights(path).about
    root = data_root(args.data_root)
    task: Any = run_config(path, about, args.recipe, root).task.build(Setting(device, root))
    if not hasattr(task, "games"):
        raise BadInput(f"{model}: there are no interactions to measure for {type(task).__name__}")
    return task.games(pretrained.load_model(path, device), args.examples, **_choices(args, task))


def _choices(args: InteractionsOf, task: Any) -> dict[str, Any]:
    """The flags that this task's games have."""
    import inspect

    known = inspect.signature(task.games).parameters
    return {k: v for k in ("grid", "frame", "joint", "pieces") if k in known and (v := getattr(args, k)) is not None}


def _table(found: dict[str, Interactions]) -> str:
    rows = [["m", "m / (n - 2)", *found]]
    one = next(iter(found.values()))
    if any(other.orders != one.orders for other in found.values()):
        return "\n\n".join(_table({name: other}) for name, other in found.items())
    for i, m in enumerate(one.orders):
        cells = [f"{f.strength[i]:.3f} ({f.low[i]:.3f} to {f.high[i]:.3f})" for f in found.values()]
        rows.append([str(m), f"{m / (one.players - 2):.2f}", *cells])
    return f"J(m), with the 95 % interval\n{table(rows)}"


def _draw(found: dict[str, Interactions], path: Path) -> None:
    from moga_st.draw.curves import Curve, chart
    from moga_st.draw.files import save_png

    curves = [
        Curve(Path(name).name, [m / (f.players - 2) for m in f.orders], f.strength, f.low, f.high)
        for name, f in found.items()
    ]
    save_png(path, chart(curves, "Strength of interactions by their order", "order m / (n - 2)", "J(m)"))
