"""The page of what still changes: served on this machine alone, made anew when files change."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from moga_st.errors import BadInput
from moga_st.report.examples import FILE, examples_of
from moga_st.report.page import Page
from moga_st.storage import escape

HOST = "127.0.0.1"
WATCHED = ("run.json", "metrics.jsonl", "best.safetensors", FILE, "eval/eval.json", f"eval/{FILE}")
"""The files of a run that its page follows."""
LOOK_EVERY_S = 2.0


class LivePage:
    """A page that follows files.

    Args:
        targets: runs' folders and other files.
        make: makes the page.
    """

    def __init__(self, targets: Sequence[Path], make: Callable[[], Page]):
        self.targets, self.make = targets, make
        self._lock = threading.Lock()
        self._state: tuple[object, ...] = ()
        self._page: Page | None = None
        self._tag = ""

    def page(self) -> tuple[Page, str]:
        """The page as of now, and a tag that changes when it does."""
        with self._lock:
            state = self._files()
            if self._page is None or state != self._state:
                self._page, self._state = self.make(), state
                digests = "".join(self._page.digest_of(section) for section in self._page.sections)
                self._tag = f'"{hashlib.sha256(digests.encode()).hexdigest()[:16]}"'
            return self._page, self._tag

    def _files(self) -> tuple[object, ...]:
        found = []
        for target in self.targets:
            for folder in [
                target,
                *(p.parent for p in target.glob("*/run.json")),
                *(p.parent for p in target.glob("*/*/run.json")),
            ]:
                for path in [folder, *(folder / name for name in WATCHED)]:
                    try:
                        state = path.stat()
                    except OSError:
                        continue
                    found.append((str(path), state.st_mtime_ns, state.st_size))
        return tuple(found)


def follow(targets: Sequence[Path], make: Callable[[], Page], port: int = 0) -> ThreadingHTTPServer:
    """A server of the page on this machine, not yet serving; ``serve_forever`` begins, its port is in
    ``server_address``.

    Raises:
        BadInput: the port is taken.
    """
    follower = LivePage(targets, make)
    follower.page()  # what is wrong with the targets shows now

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "moga_st", ""

        def do_GET(self) -> None:
            # a name of this machine alone: another site cannot have its own name point here and read the answer
            if self.headers.get("Host", "").partition(":")[0] not in (HOST, "localhost"):
                self.send_error(403)
                return
            try:
                page, tag = follower.page()
            except (BadInput, OSError) as error:  # a file in the middle of being replaced: the next question works
                self._answer(503, "text/plain; charset=utf-8", str(error).encode(), "")
                return
            if self.path == "/":
                self._answer(200, "text/html; charset=utf-8", page.html(watch=True).encode(), tag)
            elif self.path != "/data.json":
                self.send_error(404)
            elif self.headers.get("If-None-Match") == tag:
                self._answer(304, "application/json", b"", tag)
            else:
                self._answer(200, "application/json", page.document().encode(), tag)

        def _answer(self, code: int, kind: str, content: bytes, tag: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            if tag:
                self.send_header("ETag", tag)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the terminal is for what matters."""

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise BadInput(f"port {port}: cannot be had ({error}); take another one, or 0 for any") from error
    server.daemon_threads = True
    return server


def keep_examples(folders: Sequence[Path], data: Path | None, stop: threading.Event) -> None:
    """Until ``stop`` is set, make the examples of each run anew when its best weights change."""
    seen: dict[Path, int] = {}
    while not stop.wait(LOOK_EVERY_S):
        for folder in folders:
            try:
                changed = (folder / "best.safetensors").stat().st_mtime_ns
                if seen.get(folder) != changed:
                    seen[folder] = changed
                    examples_of(folder, data)
            except FileNotFoundError:
                continue  # no weights yet
            except Exception as error:  # the page says that there are none, and why
                print(escape(f"moga-st: warning: {folder}: no examples: {error}"), file=sys.stderr)
