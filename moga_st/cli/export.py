"""`moga-st export WEIGHTS OUT.onnx`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional

from moga_st.cli.collecting import bring_torch
from moga_st.cli.parsing import named, parse
from moga_st.cli.tables import fact_lines
from moga_st.config import data_root
from moga_st.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from moga_st.export.write import Exported
    from moga_st.tasks.task import Task


@dataclass(frozen=True)
class Export:
    """Write a network with all that is before and after it, from uint8 frames to uint8 frames, from keypoints in pixels
    to metres, from an image to class scores, as a file that runs without this package; checked against torch."""

    weights: Annotated[Positional[Path], named("WEIGHTS")]
    """A .safetensors file, a run's folder, or the name of weights in the package."""
    target: Annotated[Positional[Path], named("OUT")]
    """The file to write: .onnx for ONNX Runtime, OpenVINO and others, .pt2 for torch alone."""
    size: tuple[int, ...] | None = None
    """Side of a square, or height and width, of frames or images, the only size that the file will take; left out, as
    trained."""
    frames: int | None = None
    """Frames to predict; default the model's own number, more by rolling out."""
    check: Path | None = None
    """A clip, keypoints or an image to check the file on; left out, the validation data of the weights' recipe."""
    examples: int = 32
    """Inputs to check it on, and with --int8 to find ranges with."""
    int8: bool = False
    """Quantise convolutions and products to 8 bits (.onnx), by the recipe's validation data, on which it is scored too,
    beside float32."""
    recipe: str | None = None
    """Take this recipe's data instead of those that the weights were trained on."""
    licence: str | None = None
    """What the file shall say of the weights' licence; left out, MIT for the package's own, else "not stated"."""
    data_root: Path | None = None
    """Folder that holds the data; default MOGA_ST_DATA, then datasets/ of the checkout."""
    json: bool = False
    """Print the record as JSON."""


def run(argv: list[str]) -> None:
    args = parse(Export, "moga-st export", argv)
    bring_torch()
    _check_flags(args)
    from moga_st.export.write import SUFFIXES, prepare, write
    from moga_st.storage import strict_json

    if args.target.suffix not in SUFFIXES:
        raise BadInput(f"{args.target}: name the output something{' or something'.join(SUFFIXES)}")
    size = None if args.size is None else (args.size[0], args.size[-1])
    exported = prepare(args.weights, size, args.frames, args.licence)
    record: dict[str, Any] = {"weights": exported.content["weights"], "written": str(args.target)}
    if args.int8:
        record |= _write_int8(args, exported)
    else:
        examples, source = _examples(args, exported)
        difference, (most, unit) = write(args.target, exported, examples), exported.whole.tolerance
        record |= {
            "checked_on": f"{len(examples)} inputs of {source}",
            "largest_difference": difference,
            "allowed": most,
            "unit": unit,
        }
    record |= {"bytes": args.target.stat().st_size, **exported.whole.conventions()}
    if args.json:
        import torch

        from moga_st.record import provenance

        made_by = provenance(torch.device("cpu"))
        print(strict_json({**record, "argv": ["moga-st", "export", *argv], "made_by": made_by}, 2))
    else:
        print(fact_lines(record))


def _check_flags(args: Export) -> None:
    if args.size is not None and len(args.size) not in (1, 2):
        raise BadInput(f"--size: expected one number, or height and width, got {len(args.size)} numbers")
    if args.examples < 1:
        raise BadInput(f"--examples: expected at least 1, got {args.examples}")
    if args.int8 and args.target.suffix != ".onnx":
        raise BadInput(f"{args.target}: --int8 is for .onnx files")
    if args.int8 and args.check is not None:
        raise BadInput("--check: --int8 needs the recipe's validation data, on which it is scored; leave --check out")
    if not args.target.parent.is_dir():
        raise BadInput(f"{args.target}: there is no folder {args.target.parent}; make it first")


def _examples(args: Export, exported: Exported) -> tuple[Tensor, str]:
    """Real inputs of the network, and where they come from."""
    from moga_st.export.write import recorded
    from moga_st.infer.from_file import inputs_from_file

    if args.check is not None:
        size = None if args.size is None else (args.size[0], args.size[-1])
        return exported.values(inputs_from_file(args.weights, args.check, args.examples, size)), str(args.check)
    net, task = exported.network, _task(args)
    return exported.values(recorded(net, lambda: task.evaluate(net, "val"), args.examples)), "the validation data"


def _task(args: Export) -> Task:
    import torch

    from moga_st import pretrained, recipes
    from moga_st.cli.evaluate import run_config
    from moga_st.tasks.task import Setting

    path = pretrained.find_weights(args.weights)
    if args.recipe is not None:
        recipes.load(args.recipe)  # it may define the model's class
    root = data_root(args.data_root)
    config = run_config(path, pretrained.read_weights(path).about, args.recipe, root)
    try:
        return config.task.build(Setting(torch.device("cpu"), root))
    except BadInput as error:
        raise BadInput(f"{error}; or name a file of your own to check the export on, with --check") from error


def _write_int8(args: Export, exported: Exported) -> dict[str, Any]:
    """Quantise, write, and score beside float32; returns what to say of it."""
    from moga_st.export.int8 import ALLOWED_LOSS, write_int8
    from moga_st.export.write import recorded

    net, task = exported.network, _task(args)
    examples = exported.values(recorded(net, lambda: task.evaluate(net, "val"), args.examples))
    record = write_int8(args.target, exported, examples, task)
    if not record["loss"] <= ALLOWED_LOSS:
        warnings.warn(
            f"{args.target}: int8 loses {100 * record['loss']:.1f} % of {record['score']}, more than "
            f"{100 * ALLOWED_LOSS:.0f} %; more --examples may help, else export without --int8",
            stacklevel=1,
        )
    return {"calibrated_on": f"{len(examples)} inputs of the validation data", **record}
