"""What goes wrong for a reason that the user can mend or must know."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable


class BadInput(Exception):
    """Input the user can mend: the message names it, says what was expected and what to do.

    It is no ValueError, so that nobody who expects those swallows it.

    Args:
        message: what was expected and what to do.
        argument: the argument or field that it is about, if it is about one; the text begins with it, on the command
            line as the flag that it is there.
    """

    def __init__(self, message: str, *, argument: str = ""):
        super().__init__(f"{argument}: {message}" if argument else message)
        self.message, self.argument = message, argument


class RunFailed(RuntimeError):
    """The work itself cannot go on; what it saved before is whole."""


class Interrupted(Exception):
    """SIGINT or SIGTERM came; the state has been saved and the same command goes on from it."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` when a known name is close, else an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""
