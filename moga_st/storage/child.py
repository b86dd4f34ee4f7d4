"""What may crash or hang a library is tried in a process of its own first."""

from __future__ import annotations

import contextlib
import os
import signal
import warnings
from collections.abc import Callable
from typing import Any

_CPU_S = 20  # seconds of a processor: a busy machine may need any number of others for them
_WAIT_S = 600


def survives(look: Callable[[], Any]) -> bool:
    """Whether this process would live through ``look``, tried in a copy of it; what ``look`` raises is no crash.

    Where there is no ``fork`` it is not tried.
    """
    if not hasattr(os, "fork"):
        return True
    import resource  # which only these systems have

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other threads, which the child has no use for
        child = os.fork()
    if not child:
        _look(look, resource)
    _, status = os.waitpid(child, 0)
    return not os.WIFSIGNALED(status)


def _look(look: Callable[[], Any], resource: Any) -> None:
    """In the child, which this ends."""
    import faulthandler

    try:
        faulthandler.disable()  # a crash is expected here, and no matter
        for limit in (signal.SIGALRM, signal.SIGXCPU):  # which kill: damage can also make it go round for ever
            signal.signal(limit, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, resource.RLIM_INFINITY))
        signal.alarm(_WAIT_S)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        with contextlib.suppress(BaseException):  # what is raised is raised again where it is told
            look()
    finally:
        os._exit(0)
