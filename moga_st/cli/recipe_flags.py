"""A recipe on the command line: its name comes first, then any of its fields as flags.

Where a field holds a config of one of several kinds, its own flag picks another kind by its short name
(``--model.translator NAME``); the flags below it are then those of that kind.
"""

from __future__ import annotations

import ast
import dataclasses
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro

from moga_st import recipes
from moga_st.cli.parsing import parse
from moga_st.config import Config
from moga_st.errors import BadInput, nearest

if TYPE_CHECKING:
    from moga_st.engine.config import RunConfig

T = TypeVar("T")


def recipe_argument(verb: str, argv: list[str]) -> tuple[str, list[str]]:
    """The recipe, which comes first because the flags depend on it, and the rest of the arguments."""
    if not argv or argv[0].startswith("-"):
        print(f"usage: moga-st {verb} RECIPE [FLAGS]\n\nrecipes: {', '.join(recipes.names())}, or a .py file")
        print(f"`moga-st {verb} RECIPE --help` lists the flags")
        raise SystemExit(0 if argv and argv[0] in ("-h", "--help") else 2)
    return argv[0], argv[1:]


def with_recipe(verb: str, recipe: str, default: T, argv: list[str]) -> tuple[RunConfig, T]:
    """The recipe's config and ``default``, with what the flags change in either."""
    config, argv = pick_kinds(recipes.load(recipe), argv)
    unprefixed = tyro.conf.arg(name="")
    fields = [("config", Annotated[type(config), unprefixed]), ("other", Annotated[type(default), unprefixed])]
    both = dataclasses.make_dataclass("Both", fields)
    about = _docstring(recipe)
    given = parse(both, f"moga-st {verb} {recipe}", argv, description=about, default=both(config, default))
    return given.config, given.other


def pick_kinds(config: Any, argv: list[str]) -> tuple[Any, list[str]]:
    """``config`` with the sub-configs whose kinds ``argv`` names, and the arguments that are left.

    Raises:
        BadInput: no such kind, or one that needs to be told more than its name.
    """
    left, i = list(argv), 0
    while i < len(left):
        flag, equals, value = left[i].partition("=")
        places = {f"--{path.replace('_', '-')}": (path, base) for path, base in _sub_configs(config)}
        place = places.get(flag.replace("_", "-"))
        if place is None or (not equals and i + 1 >= len(left)):
            i += 1
            continue
        path, base = place
        kind = value if equals else left[i + 1]
        config = _replaced(config, path.split("."), _of_kind(flag, kind, base))
        del left[i : i + (1 if equals else 2)]
    return config, left


def _sub_configs(config: Config, prefix: str = "") -> Iterator[tuple[str, type[Config]]]:
    """The fields that hold a config of one of several kinds: path and base class."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Config):
            path = prefix + field.name
            base = next(h for h in (hints[field.name], *typing.get_args(hints[field.name])) if isinstance(h, type))
            if base.rooms and base is not type(value):
                yield path, base
            yield from _sub_configs(value, f"{path}.")


def _of_kind(flag: str, kind: str, base: type[Config]) -> Config:
    kinds = base.kinds()
    if kind not in kinds:
        raise BadInput(f"{flag} {kind}: unknown kind{nearest(kind, kinds)}; there are {', '.join(kinds)}")
    try:
        return kinds[kind]()
    except TypeError as error:
        raise BadInput(f"{flag} {kind}: cannot be made from its defaults ({error}); write a recipe with it") from error


def _replaced(config: Any, path: list[str], value: Config) -> Any:
    inner = value if len(path) == 1 else _replaced(getattr(config, path[0]), path[1:], value)
    return dataclasses.replace(config, **{path[0]: inner})


def _docstring(recipe: str) -> str | None:
    """What a recipe says of itself, read without running it."""
    return ast.get_docstring(ast.parse(recipes.path(recipe).read_text(encoding="utf-8")))
