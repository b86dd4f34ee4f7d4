"""`moga-st models`."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional

from moga_st import recipes
from moga_st.cli.parsing import named, parse
from moga_st.cli.tables import table
from moga_st.errors import BadInput, nearest

if TYPE_CHECKING:
    from moga_st.config import ModelConfig
    from moga_st.models.published import Published


@dataclass(frozen=True)
class Models:
    """List every model with its parameters and multiply-adds (the field's "FLOPs") for one example; or one model with
    its layers."""

    name: Annotated[Positional[str], named("[NAME]")] = ""
    """A model or a recipe; if left out, all of them."""
    layers: bool = False
    """Of one model: parameters, multiply-adds and time of every layer."""
    depth: int = 2
    """How deep layers are told apart: 1 for the network's own parts."""
    repeats: int = 5
    """Timed passes of one example; the median counts."""
    device: str = "auto"
    """Where they run: auto (CUDA if there is one), cpu, cuda, cuda:N or mps."""
    json: bool = False
    """Print JSON."""


def run(argv: list[str]) -> None:
    args = parse(Models, "moga-st models", argv)
    from moga_st.bench import count
    from moga_st.models.published import COUNTING_RULE
    from moga_st.storage import escape

    told = _published()
    known = named_models() | {name: recipes.load(name).model for name in recipes.names()}
    if args.name and args.name not in known:
        raise BadInput(f"no model {args.name!r}{nearest(args.name, known)}; `moga-st models` lists them")
    if args.layers:
        _layers(args, known)
        return
    known = {args.name: known[args.name]} if args.name else known
    rows = []
    for name, config in known.items():
        try:
            params, macs = count(config)
        except BadInput as error:  # a baseline whose package is not installed
            print(escape(f"{name}: left out, {error}"), file=sys.stderr)
            continue
        shape = "x".join(map(str, config.example_shape))
        row: dict[str, Any] = {
            "model": name,
            "kind": type(config).__name__,
            "input": shape,
            "params": params,
            "macs": macs,
        }
        if name in told:
            row["published"] = told[name]._asdict()
        rows.append(row)
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    head = ["model", "kind", "input", "params (M)", "MACs (G)", "published: params", "MACs", "top-1 on ImageNet"]
    print(table([head, *map(_cells, rows)]))
    print(f"\n{COUNTING_RULE}.\nPublished: arXiv 2211.03295; its top-1 was measured there, not here.")


def _layers(args: Models, known: dict[str, ModelConfig]) -> None:
    import torch

    from moga_st.analyse.layers import layers
    from moga_st.device import setup
    from moga_st.models import to_device

    if not args.name:
        raise BadInput("layers are told of one model; name it")
    if min(args.depth, args.repeats) < 1:
        raise BadInput(f"depth, repeats: expected at least 1, got {args.depth}, {args.repeats}")
    device, config = setup(args.device), known[args.name]
    found = layers(
        to_device(config.build(), device).eval(),
        torch.rand(1, *config.example_shape, device=device),
        args.depth,
        args.repeats,
    )
    if args.json:
        print(json.dumps([row._asdict() for row in found], indent=2))
        return
    params, macs, ms = (sum(getattr(row, f) for row in found) for f in ("params", "macs", "ms"))
    rows = [["layer", "kind", "output", "params (M)", "MACs (G)", "share", "ms", "share"]]
    for row in found:
        shape = "x".join(map(str, row.shape))
        counts = [f"{row.params / 1e6:.3f}", f"{row.macs / 1e9:.3f}", f"{row.macs / max(macs, 1):.1%}"]
        rows.append([row.name, row.kind, shape, *counts, f"{row.ms:.2f}", f"{row.ms / ms:.1%}"])
    rows.append(["all", "", "", f"{params / 1e6:.3f}", f"{macs / 1e9:.3f}", "", f"{ms:.2f}", ""])
    print(table(rows))


def _cells(row: dict[str, Any]) -> list[str]:
    own = [row["model"], row["kind"], row["input"], f"{row['params'] / 1e6:.3f}", f"{row['macs'] / 1e9:.2f}"]
    told = row.get("published")
    if told is None:
        return [*own, "", "", ""]
    scores = ", ".join(f"{value} ({recipe})" for recipe, value in told["top1"].items())
    return [*own, f"{told['params_m']:.4g}", f"{told['macs_g']:.2f}", scores]


def named_models() -> dict[str, ModelConfig]:
    """The networks that have a name of their own."""
    from moga_st.models import lifter, moganet

    known: dict[str, ModelConfig] = {
        name: dataclasses.replace(moganet.SIZES[told.size], size=told.side) for name, told in _published().items()
    }
    known.update({f"lifter_{k}": v for k, v in lifter.SIZES.items()})
    return known


def _published() -> dict[str, Published]:
    """The published networks by their names here."""
    from moga_st.models.published import IMAGENET

    return {f"moganet_{p.size}" + (f"_{p.side}" if p.side != 224 else ""): p for p in IMAGENET}
