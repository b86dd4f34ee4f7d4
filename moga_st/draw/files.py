"""Pictures, animations and videos as files: whole or not at all, and never through a link (see ``moga_st.storage``)."""

from __future__ import annotations

import contextlib
import errno
import re
import subprocess
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

from moga_st.storage import escape, write_atomically


def one_line(title: str) -> str:
    """A title, which may have come with a file, as a line that fits over a picture."""
    return escape(title[:200])


def for_names(name: str) -> str:
    """What came with a file as part of the name of another."""
    return re.sub(r"[^\w-]", "_", name)[:40]


def save_png(path: Path, image: Image.Image) -> None:
    """Write a picture.

    Raises:
        BadInput, OSError: see :func:`moga_st.storage.write_atomically`.
    """
    write_atomically(path, lambda part: image.save(part, "PNG"))


def save_gif(path: Path, frames: Sequence[Image.Image], durations_ms: int | list[int]) -> None:
    """Write an animation that goes round for ever.

    Args:
        durations_ms: how long each frame is shown, or all of them.

    Raises:
        BadInput, OSError: see :func:`moga_st.storage.write_atomically`.
    """
    options = {"save_all": True, "append_images": frames[1:], "duration": durations_ms, "loop": 0}
    write_atomically(path, lambda part: frames[0].save(part, "GIF", **options))


def save_mp4(path: Path, frames: Iterable[np.ndarray | Image.Image], fps: float, crf: int) -> None:
    """Write a video, H.264 in 4:2:0, which every player takes, and which plays while it is still loading.

    Args:
        frames: RGB (h, w, 3) uint8 with even sides, all of one size; taken one at a time.
        crf: x264's quality, lower is better; 18 cannot be told from the original.

    Raises:
        BadInput, OSError: see :func:`moga_st.storage.write_atomically`.
    """
    write_atomically(path, lambda part: _encode(part, frames, fps, crf))


def _encode(part: Path, frames: Iterable[np.ndarray | Image.Image], fps: float, crf: int) -> None:
    encoder: subprocess.Popen[bytes] | None = None
    try:
        for frame in frames:
            pixels = np.ascontiguousarray(frame)
            if encoder is None:
                encoder = _start(part, pixels.shape[:2], fps, crf)
            assert encoder.stdin is not None
            try:
                encoder.stdin.write(pixels.data)
            except OSError:  # it has ended, and says why
                break
        if encoder is None:
            raise ValueError(f"{part}: a video of no frames")
        _finish(encoder, part)
    finally:
        if encoder is not None:
            _end(encoder)


def _start(part: Path, size: tuple[int, int], fps: float, crf: int) -> subprocess.Popen[bytes]:
    rate = str(Fraction(fps).limit_denominator())
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[1]}x{size[0]}", "-r", rate, "-i", "pipe:0"]
    coded = ["-c:v", "h264", "-crf", str(crf), "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *raw, *coded, f"file:{part}"]
    # a process group of its own: Ctrl+C is for us, who end it
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def _finish(encoder: subprocess.Popen[bytes], part: Path) -> None:
    """Wait for the end of the file to be written; raises OSError if it could not be."""
    assert encoder.stdin is not None
    assert encoder.stderr is not None
    with contextlib.suppress(BrokenPipeError):
        encoder.stdin.close()
    said = encoder.stderr.read().decode("utf-8", "replace")
    if encoder.wait() or "Error writing" in said or "No space left" in said:
        full = "No space left" in said
        cause = next(iter(said.splitlines()), f"ffmpeg ended with {encoder.returncode}")
        raise OSError(errno.ENOSPC if full else errno.EIO, cause, str(part))


def _end(encoder: subprocess.Popen[bytes]) -> None:
    encoder.kill()
    for pipe in (encoder.stdin, encoder.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    encoder.wait()
