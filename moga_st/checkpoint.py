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
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from moga_st.config import BadInput, ModelConfig, nearest
from moga_st.models import to_device


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Have ``write`` make a file under a temporary name and put it in the place of ``path``.

    Raises:
        OSError: the disk is full or broken; ``path`` is as it was.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must outlive a power cut
    finally:
        os.close(folder)


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


SHIPPED = Path(__file__).parent / "weights"


class Weights(NamedTuple):
    """Exported weights: tensors, the model they belong to, and where they come from."""

    tensors: dict[str, Tensor]
    model: ModelConfig
    about: dict[str, Any]  # run config, step, metrics, data source, ... as far as known


def export_weights(path: Path, net: nn.Module, model: ModelConfig, about: dict[str, Any], half: bool = False) -> None:
    """Write ``net``'s weights as safetensors with the model's config and ``about`` (JSON) inside, atomically.

    ``half`` stores matrices and kernels, which are nearly all of the file, as float16; vectors stay as they are,
    since running variances can be too small or too large for it.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
    if half:
        tensors = {k: v.half() if v.is_floating_point() and v.squeeze().ndim > 1 else v for k, v in tensors.items()}
    metadata = {"moga_st": json.dumps({"model": model.to_dict(), "about": about})}
    write_atomically(path, lambda part: part.write_bytes(safetensors_bytes(tensors, metadata)))


def read_weights(path: Path) -> Weights:
    """Read what :func:`export_weights` wrote.

    Raises:
        BadInput: no such file, not safetensors, or not of this package.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such weights file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get("moga_st")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise BadInput(
            f"{path}: not a safetensors file ({error}); a published .pth goes through `moga-st convert` first"
        ) from error
    if metadata is None:
        raise BadInput(f"{path}: safetensors without a moga_st config; `moga-st convert` and training runs write one")
    try:
        content = json.loads(metadata)
        return Weights(tensors, ModelConfig.from_dict(content["model"]), content["about"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # BadInput is a ValueError
        raise BadInput(f"{path}: its config cannot be used: {error}") from error


def load_model(path: str | Path, device: torch.device | str = "cpu") -> nn.Module:
    """The network in a weights file or the best one of a run folder, in evaluation mode.

    A SimVP maps (b, t, c, h, w) floats in [0, 1] to (b, t_out, c, h, w).

    Raises:
        BadInput: see :func:`read_weights`; or the tensors do not fit the config in the file.
    """
    path = find_weights(Path(path))
    weights = read_weights(path)
    net = weights.model.build()
    load_exactly(net, weights.tensors, path)
    return to_device(net, device).eval()


def shipped() -> list[str]:
    """Names of the weights inside the package."""
    return sorted(p.stem for p in SHIPPED.glob("*.safetensors"))


def find_weights(path: Path) -> Path:
    """``path`` itself, ``best.safetensors`` of the run folder that it is, or the weights of that name in the package.

    Raises:
        BadInput: nothing of that name, or a folder without weights, or with those of several runs.
    """
    if path.is_file():
        return path
    best = path / "best.safetensors"
    if best.is_file():
        return best
    runs = sorted(p.parent for p in path.glob("*/best.safetensors"))
    if len(runs) == 1:  # runs/<recipe> with a single run in it
        return runs[0] / best.name
    if runs:
        raise BadInput(f"{path}: holds several runs; name one of {', '.join(map(str, runs))}")
    if str(path) in shipped():  # after the folders, but one of this name may be what `eval` wrote of these weights
        return SHIPPED / f"{path}.safetensors"
    if path.exists():
        raise BadInput(f"{path}: no best.safetensors in this folder; train first, or name a .safetensors file")
    raise BadInput(
        f"{path}: no such weights file{nearest(str(path), shipped())}; name a .safetensors file, a run's folder, "
        f"or one of the package's own: {', '.join(shipped())}"
    )


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
