"""`moga-st report TARGET...`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from moga_st.cli.parsing import named, parse
from moga_st.errors import BadInput


@dataclass(frozen=True)
class Report:
    """Make one HTML page of a run, or of several runs or records beside each other. It needs no network, and can be
    sent as it is. (`predict` and `lift` make one of what they made with --report.)"""

    targets: Annotated[Positional[tuple[Path, ...]], named("TARGET...")]
    """Runs' folders, eval.json files and other records, folders of either."""
    out: Path | None = None
    """File to write; default report.html in the run's folder, and here for anything else."""
    watch: bool = False
    """Serve the page on 127.0.0.1, where it follows what changes, until interrupted; write no file."""
    port: int = 0
    """Of --watch; 0 takes a free one."""
    recipe: str | None = None
    """A recipe of your own whose classes the runs need."""
    examples: bool = True
    """Show a run's examples: those that train or eval kept, else made by the network, which takes a while."""
    max_mb: float = 20.0
    """What the page may weigh: pictures get smaller until it fits."""
    data_root: Path | None = None
    """Folder that holds the data; default MOGA_ST_DATA, then datasets/ of the checkout."""


def run(argv: list[str]) -> None:
    args = parse(Report, "moga-st report", argv)
    if not args.targets:
        raise BadInput("TARGET: expected a run's folder or a record; runs/RECIPE/NAME, say")
    if not 1 <= args.max_mb <= 2000:
        raise BadInput(f"--max-mb: expected 1 to 2000, got {args.max_mb}")
    from moga_st import recipes
    from moga_st.report.write import page_of
    from moga_st.storage import escape

    if args.recipe is not None:
        recipes.load(args.recipe)
    if args.watch:
        _watch(args)
        return
    page = page_of(args.targets, args.max_mb, "made" if args.examples else "none", args.data_root)
    print(escape(page.save(args.out or _beside(args.targets))))


def _watch(args: Report) -> None:
    """Serve until interrupted."""
    from moga_st.report.serve import follow, keep_examples
    from moga_st.report.write import page_of

    if args.out is not None:
        raise BadInput("--out: --watch writes no file; leave one of them out")
    examples = "kept" if args.examples else "none"
    server = follow(args.targets, lambda: page_of(args.targets, args.max_mb, examples, args.data_root), args.port)
    stop = threading.Event()
    if args.examples:
        threading.Thread(target=keep_examples, args=(args.targets, args.data_root, stop), daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:  # that is how it ends
        pass
    finally:
        stop.set()
        server.server_close()


def _beside(targets: tuple[Path, ...]) -> Path:
    first = targets[0]
    return first / "report.html" if len(targets) == 1 and (first / "run.json").exists() else Path("report.html")


def attempt(what: Callable[[], Path]) -> None:
    """Write a page that nobody asked for by itself, and name it on stderr; a failure is one line and no more.

    Raises:
        OSError: the disk is full, which is never a mere warning.
    """
    from moga_st.storage import escape, is_full

    try:
        print(escape(f"page: {what()}"), file=sys.stderr)
    except Exception as error:  # the work is done and saved; the page is an extra
        if is_full(error):
            raise
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        print(escape(f"moga-st: warning: no page was written: {cause}"), file=sys.stderr)
