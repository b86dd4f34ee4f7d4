"""`moga-st train RECIPE [FLAGS]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from moga_st.cli.recipe_flags import recipe_argument, with_recipe
from moga_st.cli.report import attempt

if TYPE_CHECKING:
    from moga_st.engine import Runtime


def run(argv: list[str]) -> None:
    recipe, rest = recipe_argument("train", argv)
    from moga_st import dist
    from moga_st.engine import Runtime, train

    config, runtime = with_recipe("train", recipe, Runtime(), rest)
    try:
        folder = train(config, runtime)
        if dist.rank() == 0:
            print(folder, flush=True)
            attempt(lambda: _page(folder, runtime))
    finally:
        dist.shutdown()


def _page(folder: Path, runtime: Runtime) -> Path:
    from moga_st.report.write import write_run_page

    return write_run_page(folder, runtime.data_root)
