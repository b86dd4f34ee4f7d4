"""Files written whole or not at all, and never through a link."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import platform
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from moga_st.errors import BadInput
from moga_st.storage.reading import escape

if TYPE_CHECKING:
    import numpy as np

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has none; O_EXCL alone makes a new file there
_BINARY = getattr(os, "O_BINARY", 0)
_HOST = re.sub(r"\W", "", platform.node())[:12] or "host"
_STRAY_AFTER_S = 24 * 3600.0  # for a process of another machine, which cannot be asked


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A new file beside ``path``, which takes the place of ``path`` when the ``with`` ends without an error.

    Its name ends as ``path`` does; it already exists, empty.  A link at ``path`` is replaced, not followed.  What a
    killed process left of an earlier attempt at ``path`` is removed.

    Raises:
        BadInput: ``path`` is a folder or a device.
        OSError: the disk is full (``errno.ENOSPC``, whatever error was raised in the ``with``) or broken; ``path`` is
            as it was, and nothing else is left.
    """
    _check_target(path)
    _remove_strays(path)
    part = _new_part(path)
    try:
        yield part
        if not stat.S_ISREG(part.lstat().st_mode):
            raise OSError(errno.EIO, "is no ordinary file any more", str(part))
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        full = isinstance(error, Exception) and _fills(error, part)
        part.unlink(missing_ok=True)
        if full:
            raise OSError(errno.ENOSPC, "no space left on the device", str(path)) from error
        raise
    flush_folder(path.parent)


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Have ``write`` fill the new file that is to be ``path``; see :func:`new_file`."""
    with new_file(path) as part:
        write(part)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content``, atomically; see :func:`write_atomically`."""
    write_atomically(path, lambda part: part.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 with its newlines as they are, atomically; see :func:`write_atomically`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write ``value`` as JSON, atomically; NaN and infinities, which JSON does not have, become null."""
    write_text(path, strict_json(value, indent) + "\n")


def strict_json(value: Any, indent: int | None = None) -> str:
    """``value`` as JSON that any reader takes: NaN and infinities are null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def save_npy(path: Path, array: np.ndarray) -> None:
    """Write an array as .npy, atomically."""
    import numpy as np

    def write(part: Path) -> None:
        with part.open("wb") as file:  # of a name that does not end in .npy, numpy would make another
            np.save(file, array, allow_pickle=False)

    write_atomically(path, write)


def save_npz(path: Path, arrays: Mapping[str, Any], compress: bool = False) -> None:
    """Write named arrays as .npz, atomically."""
    import numpy as np

    save = np.savez_compressed if compress else np.savez
    plain: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in plain.items():
        if array.dtype.hasobject:
            raise TypeError(f"{path}: {name} holds Python objects, which no .npz should")

    def write(part: Path) -> None:
        with part.open("wb") as file:
            save(file, **plain)

    write_atomically(path, write)


def make_folder(base: Path, *below: str) -> Path:
    """The folder ``base``/``below``..., made where it is missing.

    ``base`` is the user's choice and may be a link; what is below it may have come from a stranger and may not.

    Raises:
        BadInput: one of the names below is a link, or something else than a folder is in the way.
        OSError: it cannot be made.
    """
    try:
        base.mkdir(parents=True, exist_ok=True)
        for name in below:
            base = base / name
            if base.is_symlink():
                raise BadInput(f"{base}: is a link to another folder; nothing is written through one, so remove it")
            base.mkdir(exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise BadInput(f"{base}: is in the way of a folder of that name; move it, or name another folder") from error
    return base


def open_log(path: Path) -> IO[str]:
    """A text file to append to, UTF-8, line-buffered, made where it is missing; not atomic, so for logs alone.

    Raises:
        BadInput: it is a link, a folder or a device.
        OSError: it cannot be opened.
    """
    return os.fdopen(_open_plainly(path, os.O_WRONLY | os.O_APPEND), "a", encoding="utf-8", buffering=1)


def lock_file(path: Path) -> BinaryIO:
    """Claim the file ``path``, made where it is missing, for this process until what is returned is closed.

    The system frees it however the process ends.  Nothing is written to it.  Where the file system has no locks, a
    warning says so, and the work goes on unlocked.

    Raises:
        BlockingIOError: another process has it.
        BadInput: it is a link, a folder or a device.
        OSError: it cannot be made.
    """
    file = os.fdopen(_open_plainly(path, os.O_RDWR), "r+b", buffering=0)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # a system with neither
        print(f"{escape(path)}: this system has no locks; do not start the same work twice", file=sys.stderr)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            file.close()
            raise BlockingIOError(errno.EAGAIN, "another process has it", str(path)) from error
        text = f"{path}: no locks on this file system ({error}); do not start the same work twice"
        print(escape(text), file=sys.stderr)
    return file


def fill_file(path: Path) -> BinaryIO:
    """A file of a new name to write to, which must not exist: the pieces of something larger.

    Raises:
        OSError: it exists (also as a link), or cannot be made.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY, 0o666), "wb")


def flush_folder(folder: Path) -> None:
    """Have the names in a folder outlive a power cut, where the system can do that."""
    if os.name != "posix":
        return  # folders cannot be opened there
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):  # some network disks cannot
            raise
    finally:
        os.close(number)


def _check_target(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # a missing folder shows when the new file is made
    if stat.S_ISDIR(mode):
        raise BadInput(f"{path}: is a folder, where a file is to be written; name another file")
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise BadInput(f"{path}: is a device, pipe or socket, where a file is to be written; name an ordinary file")


def _new_part(path: Path) -> Path:
    """A new empty file beside ``path``; its name says whose it is."""
    part = path.with_name(f"{_part_stem(path)}-{os.getpid()}-{os.urandom(4).hex()}.part{path.suffix}")
    fill_file(part).close()
    return part


def _part_stem(path: Path) -> str:
    return f".{path.name[:40]}.{_HOST}"


def _remove_strays(path: Path) -> None:
    """Remove the new files that killed processes left beside ``path``."""
    pattern = re.compile(rf"{re.escape(_part_stem(path)[: -len(_HOST)])}(\w+)-(\d+)-[0-9a-f]{{8}}\.part.*")
    with contextlib.suppress(OSError):
        for other in path.parent.iterdir():
            found = pattern.fullmatch(other.name)
            if found and _left_behind(other, found[1], int(found[2])):
                other.unlink(missing_ok=True)


def _left_behind(part: Path, host: str, process: int) -> bool:
    if host != _HOST or os.name != "posix":
        return time.time() - part.lstat().st_mtime > _STRAY_AFTER_S
    if process == os.getpid():
        return False  # another thread's
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OverflowError:  # a number that no process has
        return True
    except OSError:
        return False  # it lives, as somebody else's
    return False


def is_full(error: BaseException) -> bool:
    """Whether the system says that the disk, or this user's part of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _fills(error: Exception, part: Path) -> bool:
    """Whether a write failed for lack of space, which libraries report in their own ways."""
    if is_full(error):
        return True
    if isinstance(error, BadInput):
        return False
    try:
        return shutil.disk_usage(part.parent).free < 2**16
    except OSError:
        return False


def _open_plainly(path: Path, flags: int) -> int:
    """A file descriptor of an ordinary file, made where it is missing."""
    _check_target(path)
    if path.is_symlink():
        raise BadInput(f"{path}: is a link; nothing is written through one, so remove it")
    number = os.open(path, flags | os.O_CREAT | _NOFOLLOW | _BINARY | getattr(os, "O_NONBLOCK", 0), 0o666)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise BadInput(f"{path}: is no ordinary file; remove it")
    return number


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
