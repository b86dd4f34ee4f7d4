"""Training states: files that must survive.

A file is written under another name in the same folder, flushed to the disk, then renamed over the old
one, so that at any moment, whatever is killed or full, the name holds one whole file: the old or the new.  A large
training state is several files, and the one that names them, with a digest of each, is written last.  The state before
the last is kept: where a disk has damaged the last one, the one before it is used.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import io
import itertools
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from moga_st.errors import BadInput
from moga_st.storage import escape, file_digest, fill_file, open_file, read_torch, write_atomically

PIECE = 64 * 2**20
"""Bytes of the largest file of a training state: what passes between machines is often limited."""
_INDEX_MOST = 2**20  # bytes


def before(path: Path) -> Path:
    """Where the state before the one at ``path`` is kept."""
    return path.with_name(f"{path.stem}.before{path.suffix}")


def save(path: Path, state: dict[str, Any], keep: bool = False) -> None:
    """Save a training state (nested dicts and lists of tensors and numbers), atomically.

    One larger than ``PIECE`` is cut into files of that size beside ``path``, which then says which they are;
    :func:`load` needs them all.

    Args:
        keep: keep the state that is at ``path`` now as :func:`before` has it.

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
            number, cause = (None, str(error)) if pieces.failed is None else pieces.failed.args[:2]
            raise OSError(number, cause, str(path)) from error
        raise
    kept, was = None, _identity(path)
    try:
        kept = _keep(path) if keep and path.is_file() and not path.is_symlink() else None
        if len(pieces.paths) == 1:
            write_atomically(path, pieces.paths[0].replace)
        else:
            index = {
                "pieces": [p.name for p in pieces.paths],
                "bytes": [p.stat().st_size for p in pieces.paths],
                "sha256": pieces.digests,
            }
            write_atomically(path, lambda part: torch.save(index, part))
    except BaseException:
        if _identity(path) == was:  # else ``path`` names them, and the next saving removes what is left
            pieces.remove()
            _kept_name(path).unlink(missing_ok=True)
        raise
    if kept is not None:
        kept.replace(before(path))  # only now: until then the older one may be the only whole one
    needed = {p.name for p in pieces.paths} | {name for name, _, _ in _pieces_of(before(path))}
    for old in path.parent.glob(f"{path.name}.*"):  # of states before those, and of savings that were killed
        if old.name not in needed and _PIECE_NAME.fullmatch(old.name.removeprefix(path.name)):
            old.unlink()


def load(path: Path) -> dict[str, Any]:
    """Load what :func:`save` saved, on the CPU; no code in it is run.  If it is damaged and the state before it was
    kept, that is loaded, and stderr says so.

    Raises:
        BadInput: no such file, none that :func:`save` wrote, or a piece is missing or damaged, and none was kept.
    """
    try:
        return _load(path)
    except BadInput as error:
        if not (path.is_file() and before(path).is_file()):
            raise
        try:
            state = _load(before(path))
        except BadInput:
            raise error from None
        print(escape(f"{error}; going on from the state before it, {before(path).name}"), file=sys.stderr)
        return state


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BadInput(f"{path}: no such checkpoint")
    pieces = _pieces_of(path)
    if not pieces:
        return _dict(read_torch(path), path)
    for name, size, digest in pieces:
        file = path.parent / name
        if not file.is_file() or file.stat().st_size != size:
            raise BadInput(f"{file}: this piece of {path.name}, {size:,} bytes, is missing or cut short; copy it too")
        if digest is not None and file_digest(file) != digest:
            raise BadInput(f"{file}: this piece of {path.name} is damaged: its digest is another; restore a copy")
    with io.BufferedReader(_Joined([path.parent / name for name, _, _ in pieces])) as whole:
        return _dict(read_torch(whole, source=path), path)


def _dict(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise BadInput(f"{path}: not a readable checkpoint: it holds no dict; remove it or restore a copy")
    return content


def _pieces_of(path: Path) -> list[tuple[str, int, str | None]]:
    """Name, bytes and digest of each piece that the index at ``path`` names; none if it is no index.  An index from
    before there were digests has none."""
    if not path.is_file() or path.stat().st_size > _INDEX_MOST:
        return []
    try:
        content = read_torch(path)
    except BadInput:
        return []
    if not isinstance(content, dict) or not {"pieces", "bytes"} <= content.keys() <= {"pieces", "bytes", "sha256"}:
        return []
    names, sizes = content["pieces"], content["bytes"]
    digests = content.get("sha256", [None] * len(names))
    whole = all(isinstance(x, list) for x in (names, sizes, digests)) and len(names) == len(sizes) == len(digests)
    if not whole or not all(isinstance(n, str) and re.fullmatch(r"[^/\\]+" + _PIECE_NAME.pattern, n) for n in names):
        raise BadInput(f"{path}: its index does not name pieces beside it; restore a copy")
    return list(zip(names, sizes, digests, strict=True))


def _keep(path: Path) -> Path:
    """Another name for the file at ``path``, which its own will no longer be."""
    kept = _kept_name(path)
    kept.unlink(missing_ok=True)
    try:
        os.link(path, kept)
    except OSError:  # a file system without hard links
        with fill_file(kept) as copy, open_file(path) as original:
            shutil.copyfileobj(original, copy)
    return kept


def _kept_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.kept")


def _identity(path: Path) -> tuple[int, int] | None:
    """Of the file that stands at ``path``, whatever its content."""
    try:
        about = path.lstat()
    except OSError:
        return None
    return about.st_dev, about.st_ino


_PIECE_NAME = re.compile(r"\.[0-9a-f]{8}\.\d{3}")


class _Pieces:
    """A file to write to that is several: each is on the disk before the next one begins."""

    def __init__(self, path: Path):
        self.stem = f"{path}.{os.urandom(4).hex()}"
        self.paths: list[Path] = []
        self.digests: list[str] = []
        self.digest = hashlib.sha256()
        self.file: BinaryIO | None = None
        self.left = 0
        self.failed: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._write(data)
        except OSError as error:
            self.failed = error
            raise

    def _write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            if not self.left:
                self.close()
                self.paths.append(Path(f"{self.stem}.{len(self.paths):03d}"))
                self.file, self.left, self.digest = fill_file(self.paths[-1]), PIECE, hashlib.sha256()
            assert self.file is not None
            part = view[done : done + self.left]
            self.file.write(part)
            self.digest.update(part)
            done += len(part)
            self.left -= len(part)
        return done

    def flush(self) -> None:
        if self.file is not None:
            self.file.flush()

    def close(self) -> None:
        if self.file is not None:
            file, self.file = self.file, None
            self.digests.append(self.digest.hexdigest())
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
        with open_file(self.paths[i]) as file:
            file.seek(self.at - self.starts[i])
            count = file.readinto(buffer)  # type: ignore[attr-defined]  (an ordinary file can)
        self.at += count
        return count


def load_exactly(net: nn.Module, tensors: dict[str, Tensor], source: Path | str) -> None:
    """Load a state dict, every key accounted for.

    Raises:
        BadInput: missing or unexpected keys, or other shapes: a checkpoint of another model.
    """
    _check_keys(net, tensors, source)
    net.load_state_dict(tensors)


def build_exactly(build: Callable[[], nn.Module], tensors: dict[str, Tensor], source: Path | str) -> nn.Module:
    """The network that ``build`` makes, with ``tensors`` in it, every key accounted for.

    What it would be made of is first held against the tensors without taking memory for it, since the numbers that
    ``build`` makes it from may be a stranger's.

    Raises:
        BadInput: see :func:`load_exactly`; or it cannot be built.
    """
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1
        if count > 2 * len(tensors) + 100:  # weights that layers share are counted more than once
            raise BadInput(f"{source}: its config asks for more weights than the {len(tensors)} tensors that it holds")

    counting = torch.nn.modules.module.register_module_parameter_registration_hook(note)
    try:
        with torch.device("meta"), warnings.catch_warnings(), _numbers_may_be_read():
            warnings.simplefilter("ignore")  # of layers without weights
            _check_keys(build(), tensors, source)
    except BadInput as error:
        raise error if str(error).startswith(str(source)) else BadInput(f"{source}: {error}") from error
    except (RuntimeError, MemoryError, ValueError, TypeError, ArithmeticError, LookupError, AssertionError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadInput(f"{source}: its network cannot be built ({first})") from error
    finally:
        counting.remove()
    net = build()
    load_exactly(net, tensors, source)
    return net


@contextlib.contextmanager
def _numbers_may_be_read() -> Iterator[None]:
    """Let pass what torch raises for a network that reads numbers of its own, which have no values without memory, as
    mmpose's DSTFormer does for its rates of dropped paths."""
    try:
        yield
    except (RuntimeError, TypeError) as error:  # of item(), of tolist(), of numpy()
        if not isinstance(error, NotImplementedError) and not re.search(r"meta (device type )?tensor", str(error)):
            raise


def _check_keys(net: nn.Module, tensors: dict[str, Tensor], source: Path | str) -> None:
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


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's state dict, with the numbers of the weights that have no state under "stateless"."""
    content = optimiser.state_dict()
    numbers = [n for group in content["param_groups"] for n in group["params"]]
    return {**content, "stateless": [n for n in numbers if n not in content["state"]]}


def load_optimiser(optimiser: torch.optim.Optimizer, saved: Any, source: Path | str) -> None:
    """Load what :func:`optimiser_state` gave; rates and decays stay, as they are this session's own.

    Raises:
        BadInput: the state is missing, for some weights or for all, or of other shapes.
    """
    groups = optimiser.state_dict()["param_groups"]
    numbers = [n for group in groups for n in group["params"]]
    weights = dict(zip(numbers, (p for group in optimiser.param_groups for p in group["params"]), strict=True))
    state = saved.get("state") if isinstance(saved, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(v, dict) for v in state.values()):
        raise BadInput(f"{source}: lacks the optimiser's state; remove it or restore a copy")
    stateless = saved.get("stateless", [n for n in numbers if n not in state])  # older files do not say
    if lacking := [n for n in numbers if n not in state and n not in stateless]:
        raise BadInput(f"{source}: lacks the optimiser's state of {len(lacking)} weights; restore a copy")
    for group in groups:
        kept = {n: state[n] for n in group["params"] if n in state}
        for number, values in kept.items():
            uneven = values.keys() != next(iter(kept.values())).keys()
            shapes = {v.shape for v in values.values() if isinstance(v, Tensor) and v.ndim}
            if not values or uneven or shapes - {weights[number].shape}:
                raise BadInput(f"{source}: the optimiser's state of weight {number} is damaged; restore a copy")
    if state.keys() - weights.keys():
        raise BadInput(f"{source}: holds the optimiser's state of other weights; restore a copy")
    optimiser.load_state_dict({"state": state, "param_groups": groups})
