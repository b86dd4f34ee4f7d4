"""An error's one line under torchrun, whose own report of it is two screens long and comes after ours."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

REPEAT = "import select, sys; select.select([int(sys.argv[1])], [], [], 60); print(sys.argv[2], file=sys.stderr)"


def tell(line: str) -> None:
    """Print ``line`` on stderr; of torchrun's processes the first speaks for all, again when torchrun has ended."""
    from moga_st.config import launched

    if not launched():
        print(line, file=sys.stderr)
        return
    _tell_launcher(line)
    if os.environ["RANK"] == "0":
        print(line, file=sys.stderr, flush=True)
        _repeat_after_launcher(line)


def _tell_launcher(line: str) -> None:
    """Put ``line`` where torchrun looks for what to report of the process that failed first, of any rank."""
    said = {"message": line, "extraInfo": {"py_callstack": line, "timestamp": str(int(time.time()))}}
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        with contextlib.suppress(OSError):
            Path(file).write_text(json.dumps({"message": said}), encoding="utf-8")


def _repeat_after_launcher(line: str) -> None:
    """Leave a small process behind that prints ``line`` when torchrun has ended, a minute from now at most.

    Nothing that a worker prints or returns makes torchrun silent or lets it end in a line of ours.  Where a process
    cannot be waited for (systems without pidfd), there is no repetition.
    """
    will_restart = os.environ.get("TORCHELASTIC_RESTART_COUNT") != os.environ.get("TORCHELASTIC_MAX_RESTARTS")
    if will_restart or not hasattr(os, "pidfd_open"):
        return
    with contextlib.suppress(OSError):
        launcher = os.pidfd_open(os.getppid())
        # a session of its own: torchrun kills those of its workers
        command = [sys.executable, "-I", "-S", "-c", REPEAT, str(launcher), line]
        subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[launcher], start_new_session=True)
        os.close(launcher)
