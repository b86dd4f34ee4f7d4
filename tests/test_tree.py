"""Rules of this tree that a reader would otherwise have to trust: sizes, where flags are named, what a recipe is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import moga_st
from moga_st import recipes

PACKAGE = Path(moga_st.__file__).parent
FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if "experiments" not in p.relative_to(PACKAGE).parts]
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 60
REASON = re.compile(r"\b(longer|whole|in one (file|function|piece))\b.*\b(because|since)\b", re.IGNORECASE | re.DOTALL)
"""How a docstring says why what it describes is longer: "In one piece because ..."."""


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_files_and_functions_are_short_or_say_why_not():
    long = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        if len(text.splitlines()) > MOST_LINES and not REASON.search(ast.get_docstring(tree) or ""):
            long.append(f"{path.relative_to(PACKAGE)}: {len(text.splitlines())} lines")
        for function in functions(tree):
            lines = (function.end_lineno or 0) - function.lineno + 1
            if lines > MOST_LINES_OF_A_FUNCTION and not REASON.search(ast.get_docstring(function) or ""):
                long.append(f"{path.relative_to(PACKAGE)}: {function.name} has {lines} lines")
    assert not long


def test_verbs_are_thin():
    assert not [p.name for p in (PACKAGE / "cli").glob("*.py") if len(p.read_text(encoding="utf-8").splitlines()) > 200]


def test_a_library_error_speaks_of_no_flags():
    """Notebooks and other programs call the library too; the command line adds its flags."""
    found = []
    for path in FILES:
        if "cli" in path.relative_to(PACKAGE).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("BadInput", "RunFailed"))):
                continue
            texts = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))
            found += [f"{path.relative_to(PACKAGE)}:{node.lineno}: {t}" for t in texts if re.search(r"--[a-z]", t)]
    assert not found


def test_a_recipe_is_a_docstring_and_a_config():
    for name in recipes.names():
        tree = ast.parse(recipes.path(name).read_text(encoding="utf-8"))
        docstring, *rest = tree.body
        assert ast.get_docstring(tree), name
        assert isinstance(docstring, ast.Expr)
        for node in rest:
            simple = isinstance(node, (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.FunctionDef))
            assert simple, f"{name}: line {node.lineno}"
        imported = {a.name for n in rest if isinstance(n, ast.Import) for a in n.names}
        assert "sys" not in imported, name
        assert [n for n in rest if isinstance(n, ast.FunctionDef) and n.name == "config"], name


def test_the_readme_shows_the_tree_as_it_is():
    tree = (PACKAGE.parent / "README.md").read_text(encoding="utf-8").partition("## The tree")[2].partition("\n## ")[0]
    there = {p.name + "/" if p.is_dir() else p.name for p in PACKAGE.iterdir() if not p.name.startswith("_")}
    assert not {name for name in there if name not in tree}
    rooms = re.findall(r"^ {2}(\w+/)", tree, re.MULTILINE)
    assert set(rooms) <= there


def test_the_files_that_prose_names_are_there():
    root = PACKAGE.parent
    pages = [
        *root.glob("*.md"),
        *(p for name in ("datasets", "examples", "experiments") for p in (root / name).rglob("*.md")),
    ]
    named = [(p, n) for p in pages for n in re.findall(r"`(moga_st/[\w./-]+\.\w+)`", p.read_text(encoding="utf-8"))]
    assert len(named) > 10
    assert not [f"{p.relative_to(root)}: {name}" for p, name in named if not (root / name).exists()]
