"""Files that must survive: training checkpoints and exported weights.

A file is written under another name in the same folder, flushed to the disk, then renamed over the old
one, so that at any moment, whatever is killed or full, the name holds one whole file: the old or the new.  A large
training state is several files, and the one that names them is written last.
"""

from __future__ import annotations

import bisect
import contextlib
import io
import itertools
import os
import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from moga_st.errors import BadInput
from moga_st.storage import write_atomically

PIECE = 64 * 2**20
"""Bytes of the largest file of a training state: what passes between machines is often limited."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Save a training state (nested dicts and lists of tensors and numbers), atomically.

    One larger than ``PIECE`` is cut into files of that size beside ``path``, which then says which they are;
    :func:`load` needs them all.

    Raises:
        OSError: it could not be written, for instance because the disk is full; what was saved before is as it was.
    """
    pieces = _Pieces(path)
    try:
        torch.save(state, pieces)  # type: ignore[arg-type]  (all it needs is write and flush)
        pieces.close()
    except BaseException as error:
        pieces.remove()
        if isinstance(error, RuntimeError):  # torch's zip writer hides the OSError of a full disk
            raise OSError(f"{path} could not be written ({error})") from error
        raise
    # from here on pieces stay, whatever fails: ``path`` may already name them, and the next saving removes strays
    if len(pieces.paths) == 1:
        write_atomically(path, pieces.paths[0].replace)
    else:
        index = {"pieces": [p.name for p in pieces.paths], "bytes": [p.stat().st_size for p in pieces.paths]}
        write_atomically(path, lambda part: torch.save(index, part))
    for old in path.parent.glob(f"{path.name}.*"):  # of the state before, and of savings that were killed
        if old not in pieces.paths and _PIECE_NAME.fullmatch(old.name.removeprefix(path.name)):
            old.unlink()


def load(path: Path) -> dict[str, Any]:
    """Load what :func:`save` saved, on the CPU; pickled code is refused.

    Raises:
        BadInput: no such file, none that :func:`save` wrote, or a piece is missing or cut short.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or content.keys() != {"pieces", "bytes"}:
            return content
        files = [path.parent / name for name in content["pieces"]]
        for file, size in zip(files, content["bytes"], strict=True):
            if not file.is_file() or file.stat().st_size != size:
                raise BadInput(
                    f"{file}: this piece of {path.name}, {size:,} bytes, is missing or cut short; copy it too"
                )
        with io.BufferedReader(_Joined(files)) as whole:
            return torch.load(whole, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such checkpoint") from error
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path}: not a readable checkpoint ({reason}); remove it or restore a copy") from error


_PIECE_NAME = re.compile(r"\.[0-9a-f]{8}\.\d{3}")


class _Pieces:
    """A file to write to that is several: each is on the disk before the next one begins."""

    def __init__(self, path: Path):
        self.stem = f"{path}.{os.urandom(4).hex()}"
        self.paths: list[Path] = []
        self.file: BinaryIO | None = None
        self.left = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            if not self.left:
                self.close()
                self.paths.append(Path(f"{self.stem}.{len(self.paths):03d}"))
                self.file, self.left = self.paths[-1].open("wb"), PIECE
            assert self.file is not None
            part = view[done : done + self.left]
            self.file.write(part)
            done += len(part)
            self.left -= len(part)
        return done

    def flush(self) -> None:
        if self.file is not None:
            self.file.flush()

    def close(self) -> None:
        if self.file is not None:
            file, self.file = self.file, None
            with file:
                file.flush()
                os.fsync(file.fileno())

    def remove(self) -> None:
        if self.file is not None:
            with contextlib.suppress(OSError):  # what is still to be written will not go either
                self.file.close()
        for path in self.paths:
            path.unlink(missing_ok=True)


class _Joined(io.RawIOBase):
    """Several files as one to read from."""

    def __init__(self, paths: list[Path]):
        self.paths = paths
        self.starts = [0, *itertools.accumulate(p.stat().st_size for p in paths)]
        self.at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.starts[-1]}[whence]
        return self.at

    def readinto(self, buffer: Any) -> int:
        if self.at >= self.starts[-1]:
            return 0
        i = bisect.bisect_right(self.starts, self.at) - 1
        with self.paths[i].open("rb") as file:
            file.seek(self.at - self.starts[i])
            count = file.readinto(buffer)
        self.at += count
        return count


def load_exactly(net: nn.Module, tensors: dict[str, Tensor], source: Path | str) -> None:
    """Load a state dict, every key accounted for.

    Raises:
        BadInput: missing or unexpected keys, or other shapes: a checkpoint of another model.
    """
    own = net.state_dict()
    problems = [f"missing {k}" for k in own if k not in tensors]
    problems += [f"unexpected {k}" for k in tensors if k not in own]
    problems += [
        f"{k} is {tuple(tensors[k].shape)}, expected {tuple(v.shape)}"
        for k, v in own.items()
        if k in tensors and tensors[k].shape != v.shape
    ]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise BadInput(f"{source}: not a checkpoint of this {type(net).__name__}: {shown}")
    net.load_state_dict(tensors)
