"""`moga-st bench RECIPE [FLAGS]`, a network of `moga-st models`, or "kernels"."""

from __future__ import annotations

import json
from pathlib import Path

from moga_st import recipes
from moga_st.cli.models import named_models
from moga_st.cli.parsing import parse
from moga_st.cli.recipe_flags import recipe_argument, with_recipe
from moga_st.cli.tables import cell, table
from moga_st.errors import BadInput, nearest


def run(argv: list[str]) -> None:
    name, rest = recipe_argument("bench", argv)
    from moga_st import record
    from moga_st.bench import BenchKernels, BenchModel, BenchRecipe, run_kernels, run_model, run_recipe
    from moga_st.bench_runtimes import BenchRuntimes, run_runtimes
    from moga_st.device import setup

    known, prog = named_models(), f"moga-st bench {name}"
    if name == "kernels":
        args = parse(BenchKernels, prog, rest)
        rows = run_kernels(args)
    elif "--runtimes" in rest:
        args = parse(BenchRuntimes, prog, rest)
        rows = run_runtimes(Path(name), args)
    elif name in known:
        args = parse(BenchModel, prog, rest)
        rows = run_model(known[name], args)
    elif name in recipes.names() or name.endswith(".py"):
        config, args = with_recipe("bench", name, BenchRecipe(), rest)
        rows = run_recipe(config, args)
    else:
        names = ["kernels", *known, *recipes.names()]
        raise BadInput(
            f"bench {name!r}: unknown{nearest(name, names)}; there are {', '.join(names)}, or name a .py file"
        )
    if args.json:
        made_by = record.provenance(setup(args.device))
        argv = ["moga-st", "bench", *argv]
        print(json.dumps({"recipe": name, "rows": rows, "argv": argv, "made_by": made_by}, indent=2))
        return
    columns = ["what", "batch", "ms", "samples/s", "frames/s", "memory (MB)", "roofline", "ratio", "against"]
    print(table([columns, *([cell(row.get(c)) for c in columns] for row in rows)]))
