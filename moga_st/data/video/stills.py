"""Clips made of still pictures: animated GIF, PNG and WebP, TIFF of many pages, folders of frames.

Pillow decodes the pictures. How long each is shown is read from the file's own blocks, for which no picture has to be
decoded.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from moga_st.data.video.clip import MAX_PIXELS, PAPER, Clip, DamagedClip, check_size, even
from moga_st.errors import BadInput
from moga_st.storage import open_file, open_picture

GREY, RGB = ("grey",), ("red", "green", "blue")
_WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # 16 bits a pixel
_BROKEN = Exception  # what Pillow raises for damage: every format its own
_MAGIC = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"P5", b"P6", b"\0\0\0\x0cjP")


def is_picture(path: Path) -> bool:
    """Whether a file begins as pictures do that Pillow reads."""
    with open_file(path) as file:
        head = file.read(12)
    return head.startswith(_MAGIC) and (not head.startswith(b"RIFF") or head.endswith(b"WEBP"))


def open_animation(path: Path) -> Clip:
    """An animated GIF, PNG or WebP, or a TIFF of many pages.

    Raises:
        BadInput: Pillow cannot read it, its frames are too large, or its delays too uneven.
    """
    try:
        with open_picture(path) as image:
            check_size(path, *image.size)
            is_gif = image.format == "GIF"
            size, channels = image.size, RGB if is_gif else _channels(image)
            delays, cut = _delays(path)
            pages = len(delays) or getattr(image, "n_frames", 1)
    except _BROKEN as error:
        raise _refused(path, error) from error
    if pages < 2:
        raise BadInput(f"{path}: one picture, no clip; give a folder of frames or a video")
    if not delays:
        return AnimationClip(path, size, channels, pages, None, shown=np.arange(pages))
    timeline = even(path, delays, clock_s=0.01 if is_gif else 0.001)
    return AnimationClip(path, size, channels, len(timeline.shown), timeline.fps, shown=timeline.shown, cut=cut)


@dataclass
class AnimationClip(Clip):
    """Pictures of one file. Transparent pixels are laid on black."""

    shown: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """(frames,) which of the file's pictures each frame shows."""
    cut: bool = False
    """The file ends within a picture."""

    def read(self, first: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        now, given, error = -1, 0, None
        numbers = self.shown[first:stop].tolist()
        with open_picture(self.path) as image:
            frame = np.zeros(0)
            for number in numbers:
                if number != now:
                    try:
                        image.seek(number)
                        frame, now = _pixels(image, self.channels), number
                    except _BROKEN as problem:
                        error = problem
                        break
                yield frame
                given += 1
        if given == 0 and error is not None:
            raise BadInput(f"{self.path}: frame {first} cannot be decoded ({error}); save it again") from error
        if error is not None or (self.cut and first + given == self.frames):
            warnings.warn(
                f"{self.path}: damaged or cut off; its first {first + given} frames serve", DamagedClip, stacklevel=2
            )


def open_folder(path: Path) -> Clip:
    """A folder of pictures, ordered by the numbers in their names.

    Raises:
        BadInput: no pictures in it, or too large ones.

    Warns:
        UserWarning: the numbers leave some out.
    """
    files = sorted((p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")), key=_natural)
    files = [p for p in files if is_picture(p)]
    if not files:
        raise BadInput(f"{path}: a folder without pictures; give a video, or the folder that holds a clip's frames")
    try:
        with open_picture(files[0]) as image:
            check_size(files[0], *image.size)
            size, channels = image.size, _channels(image)
    except _BROKEN as error:
        raise _refused(files[0], error) from error
    numbers = [[int(n) for n in re.findall(r"\d+", p.stem)] for p in files]
    if len({len(n) for n in numbers}) == 1 and numbers[0]:
        steps = np.diff(np.array(numbers, np.float64), axis=0)
        varies = np.flatnonzero(steps.any(0))
        if len(varies) == 1 and (jumps := np.flatnonzero(steps[:, varies[0]] > steps[:, varies[0]].min())).size:
            at = int(jumps[0])
            warnings.warn(
                f"{path}: frames are missing between {files[at].name} and {files[at + 1].name}; what is there is taken "
                "as evenly spaced",
                stacklevel=2,
            )
    return FolderClip(path, size, channels, len(files), None, files=tuple(files))


@dataclass
class FolderClip(Clip):
    """Pictures, each in a file of its own. Transparent pixels are laid on black."""

    files: tuple[Path, ...] = ()

    def read(self, first: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        for file in self.files[first:stop]:
            try:
                with open_picture(file) as image:
                    if image.size != self.size_px:
                        w, h = self.size_px
                        raise BadInput(
                            f"{file}: {image.size[0]} x {image.size[1]} pixels, the first frame has {w} x {h}"
                        )
                    frame = _pixels(image, self.channels)
            except _BROKEN as error:
                raise _refused(file, error) from error
            yield frame


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", path.name)]


def _refused(path: Path, error: BaseException) -> BadInput:
    if isinstance(error, BadInput):
        return error
    if isinstance(error, Image.DecompressionBombError):
        return BadInput(f"{path}: frames of too many pixels, at most {MAX_PIXELS:,} can be read; make them smaller")
    cause = "not a picture that can be read" if isinstance(error, UnidentifiedImageError) else f"damaged ({error})"
    return BadInput(f"{path}: {cause}; save it again")


def _channels(image: Image.Image) -> tuple[str, ...]:
    return GREY if image.mode in ("1", "L", "F", *_WIDE) else RGB


def _pixels(image: Image.Image, channels: tuple[str, ...]) -> np.ndarray:
    """(h, w, c) uint8, or float32 of 16-bit and float pictures."""
    if channels == GREY and image.mode in _WIDE:
        return (np.asarray(image).astype(np.float32) / 65535)[..., None]
    if channels == GREY and image.mode == "F":
        return np.asarray(image, np.float32)[..., None]
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGB", layer.size, PAPER)
        paper.paste(layer, mask=layer.getchannel("A"))
        image = paper
    if channels == GREY:
        return np.array(image.convert("L"))[..., None]
    return np.array(image.convert("RGB"))


# --- how long pictures are shown ---


def _delays(path: Path) -> tuple[list[float], bool]:
    """Seconds each whole picture of a GIF, animated PNG or WebP is shown, none for other files; and whether the file
    ends within a picture."""
    with open_file(path) as file:
        head = file.read(12)
        file.seek(0)
        if head[:4] == b"GIF8":
            return _gif(file)
        if head[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(file)
        if head[:4] == b"RIFF":
            return _webp(file)
    return [], False


def _gif(file: IO[bytes]) -> tuple[list[float], bool]:
    """GIF89a: the delay of the graphic control extension before each picture, in centiseconds."""
    screen = file.read(13)
    file.seek((3 << (screen[10] & 7) + 1) if screen[10] & 0x80 else 0, 1)  # the palette
    delays, delay = list[float](), 0.0
    while (kind := file.read(1)) in (b"!", b","):
        if kind == b"!":
            if file.read(1) == b"\xf9" and len(block := file.read(6)) == 6:
                delay = int.from_bytes(block[2:4], "little") / 100
                file.seek(-1, 1)
        else:
            place = file.read(9)
            if len(place) < 9:
                return delays, True
            file.seek(((3 << (place[8] & 7) + 1) if place[8] & 0x80 else 0) + 1, 1)
        while (size := file.read(1)) not in (b"", b"\0"):
            file.seek(size[0], 1)
        if kind == b"," and size:
            delays.append(delay)
            delay = 0.0
    return delays, kind != b";"


def _png(file: IO[bytes]) -> tuple[list[float], bool]:
    """The delay of each fcTL chunk, a fraction of seconds."""
    delays, kind, size = list[float](), b"", 0
    file.seek(8)
    while len(head := file.read(8)) == 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"fcTL" and len(body := file.read(26)) == 26:
            above, below = int.from_bytes(body[20:22], "big"), int.from_bytes(body[22:24], "big")
            delays.append(above / (below or 100))
            size -= 26
        file.seek(size + 4, 1)
    cut = kind != b"IEND"
    return (delays[:-1] if cut else delays), cut


def _webp(file: IO[bytes]) -> tuple[list[float], bool]:
    """The duration of each ANMF chunk, in milliseconds."""
    delays = list[float]()
    end = file.seek(0, 2)
    file.seek(12)
    while len(head := file.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        after = file.tell() + size + size % 2
        if head[:4] == b"ANMF" and after > end:
            return delays, True
        if head[:4] == b"ANMF" and len(body := file.read(16)) == 16:
            delays.append(int.from_bytes(body[12:15], "little") / 1000)
        file.seek(after)
    return delays, False
