"""Weights and checkpoints: safetensors, and what ``torch.save`` writes, read without torch's unpickler."""

from __future__ import annotations

import math
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from moga_st.errors import BadInput
from moga_st.storage.arrays import check_entry, read_entry
from moga_st.storage.opcodes import Reader
from moga_st.storage.pickles import load_pickle
from moga_st.storage.reading import check_size, check_unpacked, file_size, open_file, parse_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_HEADER_MOST, _TENSORS_MOST = 16_000_000, 50_000  # bytes and entries of a header; networks have a few thousand
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001  # of torch.save before 1.6
_STORAGES = {
    **{"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16"},
    **{"LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8"},
    **{"ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": "uint8"},
}


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and its metadata.

    Raises:
        BadInput: see :func:`moga_st.storage.open_file`; not safetensors, damaged, or larger than the limit.
    """
    from safetensors import safe_open

    with open_file(path) as file:
        size = file_size(file)
        check_size(path, "the file", size)
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _HEADER_MOST):
            raise BadInput(f"{path}: not a safetensors file (it has no header that fits into it)")
        header = parse_json(file.read(length), path)
    if not isinstance(header, dict):
        raise BadInput(f"{path}: not a safetensors file (its header is no object)")
    if len(header) > _TENSORS_MOST:
        raise BadInput(
            f"{path}: has {len(header):,} tensors, expected at most {_TENSORS_MOST:,}; no network has so many"
        )
    try:
        with safe_open(path, framework="pt") as opened:  # checks types, shapes and places against the bytes
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
            return tensors, dict(opened.metadata() or {})
    except Exception as error:  # it raises an error of its own, and others for other damage
        raise BadInput(f"{path}: not a safetensors file, or damaged ({str(error).splitlines()[0]})") from error


def read_torch(path: Path | BinaryIO, strangers: bool = False, source: Path | str = "checkpoint") -> Any:
    """What ``torch.save`` wrote, in its format of today or from before torch 1.6: tensors on the CPU, plain data.

    Args:
        path: a file, or one that is open and can seek.
        strangers: put an inert :class:`moga_st.storage.Stranger` where the file names other code (a log, a config),
            instead of refusing.
        source: what messages call an open file.

    Raises:
        BadInput: see :func:`moga_st.storage.open_file`; it asks for other code, is damaged or larger than the limit, or
            has tensors that are larger than their bytes.
    """
    if isinstance(path, Path):
        with open_file(path) as file:
            return _read_torch(file, file_size(file), path, strangers)
    size = path.seek(0, 2)
    path.seek(0)
    return _read_torch(path, size, source, strangers)


def _read_torch(file: Any, size: int, source: Path | str, strangers: bool) -> Any:
    check_size(source, "the file", size)
    start = file.read(4)
    file.seek(0)
    try:
        if start == b"PK\x03\x04":
            return _read_zip(file, source, strangers)
        return _read_legacy(file, size, source, strangers)
    except BadInput:
        raise
    except Exception as error:  # zipfile and damaged numbers raise whatever they like
        raise BadInput(f"{source}: not a readable checkpoint ({error!s:.200})") from error


class _Storage:
    """Bytes that tensors are views of."""

    def __init__(self, dtype: torch.dtype, data: bytearray):
        import torch

        self.dtype = dtype
        self.flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)


def _read_zip(file: Any, source: Path | str, strangers: bool) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = {i.filename: i for i in archive.infolist()}
        main = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(main) != 1:
            raise BadInput(f"{source}: a zip file, but none of torch.save (TorchScript is code, and is not read)")
        base = main[0].removesuffix("data.pkl")
        for info in entries.values():
            check_entry(info, source)
        packed = sum(i.compress_size for i in entries.values())
        check_unpacked(source, "its content", packed, sum(i.file_size for i in entries.values()))
        if f"{base}byteorder" in entries and archive.read(f"{base}byteorder") != b"little":
            raise BadInput(f"{source}: written on a big-endian machine; save it again on another")
        storages: dict[str, _Storage] = {}

        def outside(what: Any) -> _Storage:
            dtype, key, _ = _storage_of(what)
            name = f"{base}data/{key}"
            if key not in storages:
                if name not in entries:
                    raise BadInput(f"lacks {name}")
                with archive.open(entries[name]) as content:
                    data = read_entry(content, entries[name].file_size)
                if len(data) % dtype.itemsize:
                    raise BadInput(f"{name} has {len(data):,} bytes, which are no whole {dtype}")
                storages[key] = _Storage(dtype, data)
            if storages[key].dtype != dtype:
                raise BadInput(f"{name} is of two types")
            return storages[key]

        with archive.open(main[0]) as content:
            return load_pickle(content, entries[main[0]].file_size, source, _readers(), strangers, outside)


def _read_legacy(file: Any, size: int, source: Path | str, strangers: bool) -> Any:
    """A row of pickles: magic number, version, about the machine, the content, the storages' names; then their bytes,
    which stand in the file in that order, each after its length."""

    def pickle(**options: Any) -> Any:
        return load_pickle(file, size - file.tell(), source, **options)

    if file.read(1) != b"\x80":
        raise BadInput(f"{source}: not a checkpoint of torch.save")
    file.seek(0)
    if pickle() != _LEGACY_MAGIC or pickle() != _LEGACY_VERSION:
        raise BadInput(f"{source}: a pickle, but no checkpoint of torch.save")
    machine = pickle()
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise BadInput(f"{source}: written on a big-endian machine; save it again on another")
    buffers: dict[str, bytearray] = {}
    storages: dict[str, _Storage] = {}

    def outside(what: Any) -> _Storage:
        dtype, key, count = _storage_of(what)
        if key not in storages:
            if sum(map(len, buffers.values())) + count * dtype.itemsize > size:
                raise BadInput(f"declares more numbers than its {size:,} bytes can hold")
            buffers[key] = bytearray(count * dtype.itemsize)
            storages[key] = _Storage(dtype, buffers[key])
        if storages[key].dtype != dtype:
            raise BadInput(f"storage {key} is of two types")
        return storages[key]

    content = pickle(readers=_readers(), strangers=strangers, persistent=outside)
    for key in pickle():
        buffer = buffers.get(key) if isinstance(key, str) else None
        if buffer is None:
            raise BadInput(f"{source}: has bytes of a storage {key!r:.40} that nothing uses")
        count = struct.unpack("<q", file.read(8))[0]
        if count * storages[key].dtype.itemsize != len(buffer) or file.readinto(buffer) != len(buffer):
            raise BadInput(f"{source}: cut short within storage {key}")
        del buffers[key]
    if buffers:
        raise BadInput(f"{source}: lacks the bytes of {len(buffers)} storages")
    return content


def _storage_of(what: Any) -> tuple[torch.dtype, str, int]:
    """Type, name and number of elements of a storage, from how the pickle calls it."""
    if not (isinstance(what, tuple) and len(what) in (5, 6) and what[0] == "storage" and what[5:] in ((), (None,))):
        raise BadInput(f"names something that is no storage: {what!r:.60}")
    _, kind, key, _, count = what[:5]
    dtype = getattr(kind, "reader", None)
    if not isinstance(dtype, _Kind) or not isinstance(key, str) or type(count) is not int or count < 0:
        raise BadInput(f"names a storage of an unknown type: {what!r:.60}")
    return dtype.constant, key, count


class _Kind:
    """Stands for a storage class or a dtype, which the file mentions and may not call."""

    def __init__(self, dtype: torch.dtype):
        self.constant = dtype

    def __call__(self, *_: Any) -> Any:
        raise BadInput("calls a storage type; do not trust this file")


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Tensor:
    """A tensor over a storage, no larger than it."""
    whole = all(isinstance(x, tuple) and all(type(n) is int and n >= 0 for n in x) for x in (shape, stride, (offset,)))
    if not isinstance(storage, _Storage) or not whole or len(shape) != len(stride) or len(shape) > 32:
        raise BadInput("has a tensor of an unknown kind")
    count, there = math.prod(shape), storage.flat.numel()
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) if count else offset - 1
    if last >= there or count > there or max((*shape, *stride, 0)) >= 2**60:
        raise BadInput(f"has a tensor of shape {shape}, steps {stride}, over {there:,} numbers: larger than its bytes")
    return storage.flat.as_strided(shape, stride, offset)


def _typed_tensor(storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any) -> Tensor:
    """A tensor over bytes of no type."""
    kind = getattr(dtype, "reader", dtype)
    if (
        not isinstance(storage, _Storage)
        or not isinstance(kind, _Kind)
        or storage.flat.numel() % kind.constant.itemsize
    ):
        raise BadInput("has a tensor of an unknown kind")
    typed = _Storage(kind.constant, bytearray())
    typed.flat = storage.flat.view(kind.constant)
    return _tensor(typed, offset, shape, stride, grad, hooks)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _from_type(function: Any, _: Any, arguments: Any, *__: Any) -> Any:
    reader: Any = getattr(function, "reader", None)
    if reader not in (_tensor, _typed_tensor, _parameter) or not isinstance(arguments, tuple):
        raise BadInput("has a tensor of a class of somebody's own")
    return reader(*arguments)


def _readers() -> dict[tuple[str, str], Reader]:
    import torch

    names = [n for n in (*_STORAGES.values(), "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2") if n]
    return {
        **{("torch", name): _Kind(getattr(torch, dtype)) for name, dtype in _STORAGES.items()},
        **{("torch.storage", name): _Kind(getattr(torch, dtype)) for name, dtype in _STORAGES.items()},
        **{("torch", name): _Kind(getattr(torch, name)) for name in names},
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_tensor_v3"): _typed_tensor,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
        ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
        ("torch.nn.parameter", "Parameter"): _parameter,
        ("torch", "Size"): lambda sizes=(): tuple(sizes),
        ("torch", "device"): lambda *names: ":".join(map(str, names)),
    }
