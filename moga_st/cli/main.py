"""``moga-st VERB ...``.

Exit codes: 0 done; 1 the work failed (loss not finite, disk full); 2 bad input; 70 an error of our own; 128 + n stopped
by signal n after saving.  Errors go to stderr in one line that names the thing and the remedy.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import warnings
from typing import NoReturn

from moga_st.cli.collecting import leave_all_at_exit, not_collecting
from moga_st.cli.last_word import tell
from moga_st.errors import BadInput, Interrupted, RunFailed, nearest

VERBS = {
    "train": ("RECIPE", "train a recipe, or go on with it; every field of it is a flag"),
    "eval": ("RUN_OR_WEIGHTS", "score a run or a weights file on the test set, and draw examples"),
    "report": ("TARGET...", "one HTML page of a run, or of several runs or records"),
    "predict": ("WEIGHTS CLIP", "predict a clip's future and draw it"),
    "classify": ("WEIGHTS IMAGE...", "name what images show, and where on them"),
    "interactions": ("MODEL...", "measure how parts of an input interact, by the size of their context, and draw it"),
    "lift": ("WEIGHTS SOURCE", "lift people in a video, or their 2D keypoints, to 3D"),
    "data": ("RECIPE", "find and check a recipe's data; `data prepare NAME SRC` makes the file that recipes read"),
    "models": ("", "list every model with parameters and operations"),
    "bench": ("RECIPE", "time a recipe, a network of `models`, or kernels; with --runtimes, weights as exported"),
    "export": ("WEIGHTS OUT", "write a network as .onnx or .pt2 that runs without this package"),
    "convert": ("--from DIALECT IN OUT", "turn a published checkpoint into weights of this package"),
}
"""What each verb takes and does; verb V is the function ``run`` of ``cli/V.py`` (``eval`` of ``evaluate.py``)."""
MODULES = {"eval": "evaluate"}
DEBUG = "MOGA_ST_DEBUG"
"""Set to 1: errors keep their tracebacks."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one verb and leave with its exit code."""
    # before torch comes in: large tensors on the CPU lie in huge pages, which cost fewer faults and look-ups
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a character gets an escape, not an error
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    leave_all_at_exit()
    warnings.formatwarning = _warning  # type: ignore[assignment]  (of which all arguments but the first are left out)
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        raise SystemExit(0 if argv else 2)
    if argv[0] == "--version":
        from moga_st import __version__

        print(__version__)
        raise SystemExit(0)
    before, threading.excepthook = threading.excepthook, _thread_failed
    try:
        code = _run(argv[0], argv[1:])
    finally:
        threading.excepthook = before
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads on (`| head`), which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(code)


def usage() -> str:
    """The verbs, a line each, and the recipes."""
    from moga_st.recipes import names

    width = max(len(f"{verb} {takes}") for verb, (takes, _) in VERBS.items())
    lines = [f"  {f'{verb} {takes}'.strip():{width}}  {does}" for verb, (takes, does) in VERBS.items()]
    recipes = f"`moga-st VERB --help` tells the rest.  Recipes: {', '.join(names())}"
    return "\n".join(["usage: moga-st VERB ...", "", *lines, "", recipes])


def _run(verb: str, argv: list[str]) -> int:
    """Run a verb; returns the exit code."""
    try:
        if verb not in VERBS:
            raise BadInput(f"unknown verb {verb!r}{nearest(verb, VERBS)}; `moga-st --help` lists them")
        with not_collecting():
            module = importlib.import_module(f"moga_st.cli.{MODULES.get(verb, verb)}")
        module.run(argv)
    except SystemExit as leaving:  # of the parser of flags, which has said what it has to
        return leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as error:
        if os.environ.get(DEBUG) == "1" and not isinstance(error, (KeyboardInterrupt, Interrupted)):
            raise
        return _say(error)
    return 0


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    """One line about an error in a thread, TensorBoard's for instance; where its work is needed it is raised again."""
    if os.environ.get(DEBUG) == "1":
        threading.__excepthook__(args)
    elif args.exc_value is not None:
        print(f"moga-st: warning: {_one_line(f'{type(args.exc_value).__name__}: {args.exc_value}')}", file=sys.stderr)


def _one_line(message: object) -> str:
    """For a terminal: what is in names and files has no power over it."""
    from moga_st.storage import escape

    return escape(" ".join(str(message).split()))


def _warning(message: object, *_: object) -> str:
    """How a warning looks: where it was raised is nothing to a user.  Under torchrun one process speaks for all."""
    from moga_st.config import launched

    return "" if launched() and os.environ["RANK"] != "0" else f"moga-st: warning: {_one_line(message)}\n"


def _say(error: BaseException) -> int:
    """One line about an error on stderr; returns the exit code."""
    from moga_st.storage import is_full

    code, message = 70, ""
    if isinstance(error, BrokenPipeError):
        return 0  # nobody reads on
    if isinstance(error, BadInput):
        flag = f"--{error.argument.replace('_', '-')}: " if error.argument else ""
        code, message = 2, f"{flag}{error.message}"
    elif isinstance(error, RunFailed):
        code, message = 1, str(error)
    elif isinstance(error, KeyboardInterrupt):
        code, message = 130, "interrupted"
    elif isinstance(error, Interrupted):
        code, message = 128 + error.signum, f"{error}; all is saved, the same command goes on from here"
    elif is_full(error):
        code, message = 1, f"no space left on the device ({error}); free some and repeat the command"
    elif isinstance(error, OSError) and error.filename is not None:  # no such place, or no right to it
        code, message = 1, str(error)
    else:
        message = f"{type(error).__name__}: {error}; an error of moga-st's own: {DEBUG}=1 shows where"
    tell(f"moga-st: {_one_line(message)}")
    return code
