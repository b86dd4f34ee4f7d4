"""`moga-st train RECIPE [FLAGS]`."""

from __future__ import annotations

from moga_st.cli.recipe_flags import recipe_argument, with_recipe


def run(argv: list[str]) -> None:
    recipe, rest = recipe_argument("train", argv)
    from moga_st import dist
    from moga_st.engine import Runtime, train

    config, runtime = with_recipe("train", recipe, Runtime(), rest)
    try:
        folder = train(config, runtime)
        if dist.rank() == 0:
            print(folder)
    finally:
        dist.shutdown()
