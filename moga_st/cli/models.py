"""`moga-st models`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

from moga_st import recipes
from moga_st.cli.tables import table
from moga_st.errors import BadInput

if TYPE_CHECKING:
    from moga_st.config import ModelConfig


@dataclass(frozen=True)
class Models:
    """List every model with its parameters and multiply-adds (the field's "FLOPs") for one example."""

    json: bool = False
    """Print JSON."""


def run(argv: list[str]) -> None:
    args = tyro.cli(Models, prog="moga-st models", args=argv)
    from moga_st.bench import count

    known = named_models() | {name: recipes.load(name).model for name in recipes.names()}
    rows = []
    for name, config in known.items():
        try:
            params, macs = count(config)
        except BadInput as error:  # a baseline whose package is not installed
            print(f"{name}: left out, {error}", file=sys.stderr)
            continue
        shape = "x".join(map(str, config.example_shape))
        rows.append({"model": name, "kind": type(config).__name__, "input": shape, "params": params, "macs": macs})
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    print(
        table(
            [
                ["model", "kind", "input", "params (M)", "MACs (G)"],
                *(
                    [r["model"], r["kind"], r["input"], f"{r['params'] / 1e6:.3f}", f"{r['macs'] / 1e9:.2f}"]
                    for r in rows
                ),
            ]
        )
    )


def named_models() -> dict[str, ModelConfig]:
    """The networks that have a name of their own."""
    from moga_st.models import lifter, moganet

    known: dict[str, ModelConfig] = {f"moganet_{k}": v for k, v in moganet.SIZES.items()}
    known.update({f"lifter_{k}": v for k, v in lifter.SIZES.items()})
    return known
