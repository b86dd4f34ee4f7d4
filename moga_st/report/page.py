"""The page itself: sections as one JSON document with binary arrays in it, and the scripts and styles that draw them.

A page needs no network and may not use any: its content security policy forbids it, and runs no script but the page's
own, which are named by their digests.  Names that come from data reach the browser as JSON and are only ever set as
text there.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from moga_st import __version__, storage

FRONT = Path(__file__).parent / "front"
SCRIPTS = ("core.js", "player.js", "tables.js", "charts.js", "clips.js", "body.js", "stage.js", "people.js", "watch.js")
MAX_MB = 20.0
"""What a page may weigh; pictures are made smaller until it fits."""
_DTYPES = {"f4", "f8", "i2", "i4", "u1"}


class Page:
    """Sections in the order in which they are shown."""

    def __init__(self, title: str, subtitle: str = "", max_mb: float = MAX_MB):
        self.title, self.subtitle, self.max_mb = title, subtitle, max_mb
        self.sections: list[dict[str, Any]] = []
        self.blobs: list[str] = []

    def add(self, kind: str, title: str, **content: Any) -> None:
        """Add a section; ``kind`` names what draws it in ``front/``, ``content`` is plain JSON, arrays being what
        :meth:`array` gives."""
        self.sections.append({"kind": kind, "title": title, **content})

    def array(self, values: Any, dtype: str = "f4") -> dict[str, Any]:
        """Numbers as little-endian bytes; ``dtype`` is f4, f8, i2, i4 or u1."""
        if dtype not in _DTYPES:
            raise ValueError(f"dtype {dtype!r}: expected one of {', '.join(sorted(_DTYPES))}")
        array = np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<"))
        return {"blob": self.blob(array.tobytes()), "dtype": dtype, "shape": list(array.shape)}

    def blob(self, content: bytes) -> int:
        """Keep bytes; returns their number."""
        self.blobs.append(base64.b64encode(content).decode("ascii"))
        return len(self.blobs) - 1

    @property
    def weight(self) -> int:
        """Bytes of the arrays and pictures so far."""
        return sum(map(len, self.blobs))

    def document(self) -> str:
        """All that the scripts are given, as JSON."""
        made = {"time": time.strftime("%Y-%m-%d %H:%M %Z"), "version": __version__}
        about = {"title": self.title, "subtitle": self.subtitle, "made": made}
        sections = [{**section, "digest": self.digest_of(section)} for section in self.sections]
        return storage.strict_json({**about, "sections": sections, "blobs": self.blobs})

    def digest_of(self, section: dict[str, Any]) -> str:
        """What tells a section that has changed: its content, whatever numbers its blobs have."""

        def inlined(value: Any) -> Any:
            if isinstance(value, dict):
                return {k: self.blobs[v] if k == "blob" else inlined(v) for k, v in value.items()}
            return [inlined(v) for v in value] if isinstance(value, (list, tuple)) else value

        return hashlib.sha256(storage.strict_json(inlined(section)).encode()).hexdigest()[:16]

    def html(self, watch: bool = False) -> str:
        """The page as text.

        Args:
            watch: it is served, and asks its server, and nobody else, for what is new.
        """
        kinds = {section["kind"] for section in self.sections}
        scripts = [_read("vendor/uplot.min.js")] if watch or kinds & {"curves", "lead", "scatter"} else []
        scripts += [_read("vendor/three.min.js")] if watch or "people" in kinds else []
        scripts.append("\n".join(map(_read, SCRIPTS)))
        styles = [_read("vendor/uplot.min.css"), _read("page.css")]
        policy = "; ".join(
            [
                "default-src 'none'",
                f"script-src {' '.join(map(_digest, scripts))}",
                f"style-src {' '.join(map(_digest, styles))}",
                "img-src blob: data:",
                *(["connect-src 'self'"] if watch else []),
                "base-uri 'none'",
                "form-action 'none'",
            ]
        )
        parts = {
            "policy": html.escape(policy),
            "title": html.escape(self.title),
            "styles": "".join(f"<style>{text}</style>\n" for text in styles),
            "watch": "watch" if watch else "",
            # no "<" is left in it, so that nothing in it can end its element
            "data": self.document().replace("<", "\\u003c"),
            "scripts": "".join(f"<script>{text}</script>\n" for text in scripts),
        }
        # in one pass, so that what data put in is not looked at again
        return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page.html"))

    def save(self, path: Path) -> Path:
        """Write the page atomically; returns ``path``."""
        storage.write_text(path, self.html())
        return path


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (FRONT / name).read_text(encoding="utf-8")
