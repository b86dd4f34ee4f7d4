"""Pictures, by Pillow, of formats that are only read: for some others it runs programs (EPS: Ghostscript)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from moga_st.storage.reading import open_file

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000")
"""Told by content, whatever a file is called."""


@contextlib.contextmanager
def open_picture(source: Path | bytes) -> Iterator[Image.Image]:
    """A picture, in a ``with``, of a file or of the bytes of one; its pixels are not decoded yet.

    Raises:
        BadInput: see :func:`moga_st.storage.open_file`.
        PIL.UnidentifiedImageError: another format.
        Exception: what Pillow likes for damage, here and when it decodes.
    """
    from PIL import Image

    with (
        open_file(source) if isinstance(source, Path) else io.BytesIO(source) as file,
        Image.open(file, formats=FORMATS) as image,
    ):
        yield image
