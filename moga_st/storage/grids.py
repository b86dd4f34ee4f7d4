"""NetCDF and Zarr, by xarray, whose values are all in the file or store itself."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from moga_st.errors import BadInput
from moga_st.storage.arrays import plain_dtype
from moga_st.storage.child import survives
from moga_st.storage.hdf5 import open_hdf5
from moga_st.storage.reading import check_size, first_bytes, parse_json, read_bytes

# none of them runs code (as pickle does), and none makes a bomb of a few bytes (as bz2 and lzma do)
_CODECS = {
    *("zlib", "gzip", "zstd", "lz4", "blosc", "shuffle", "delta", "fixedscaleoffset", "quantize", "bitround"),
    *("packbits", "crc32", "crc32c", "adler32", "fletcher32", "vlen-utf8", "astype", "bytes", "transpose"),
    "sharding_indexed",
}
_METADATA = {".zarray", "zarr.json", ".zmetadata"}
_MOST_FILES = 2_000_000
_MOST_JSON = 64 << 20  # bytes


def open_grid(path: Path) -> Any:
    """An ``xarray.Dataset`` of a NetCDF file or a Zarr store, whose values are read when they are asked for.

    Raises:
        BadInput: it cannot be read, xarray is not installed, or it would have other files read: HDF5's ways
            (:func:`moga_st.storage.open_hdf5`), links in a store, codecs that are not known to be harmless.
    """
    try:
        import xarray
    except ImportError as error:
        raise BadInput(f"{path}: NetCDF and Zarr need xarray; pip install 'moga-st[weather]'") from error
    try:
        if path.is_dir():
            _check_store(path)
            return xarray.open_zarr(path, chunks=None, consolidated=False)  # type: ignore[arg-type]
        start = first_bytes(path, 4)
        if start.startswith(b"\x89HDF"):
            with open_hdf5(path):
                pass  # it has been looked at
            return xarray.open_dataset(path, engine="h5netcdf")
        engine = "netcdf4" if start == b"CDF\x05" else "scipy"
        if not survives(lambda: xarray.open_dataset(path, engine=engine).close()):
            raise BadInput(f"{path}: damaged: NetCDF's library crashes or hangs over it; restore a copy")
        return xarray.open_dataset(path, engine=engine)
    except BadInput:
        raise
    except Exception as error:  # xarray and its engines raise whatever they like
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadInput(f"{path}: cannot be read as NetCDF or Zarr ({first:.160}); fetch it again") from error


def _check_store(store: Path) -> None:
    """Look at every file of a Zarr store, and at what its arrays are made of."""
    count = 0
    for folder, folders, files in os.walk(store):
        count += len(files) + len(folders)
        if count > _MOST_FILES:
            raise BadInput(f"{store}: holds more than {_MOST_FILES:,} files")
        for name in (*folders, *files):
            if (Path(folder) / name).is_symlink():
                raise BadInput(f"{Path(folder) / name}: a link; copy what it names into the store")
        for name in _METADATA.intersection(files):
            path = Path(folder) / name
            try:
                _check_metadata(path, parse_json(read_bytes(path, _MOST_JSON), path, nan=True))
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                raise BadInput(f"{path}: not Zarr's ({type(error).__name__}: {error!s:.80})") from error


def _check_metadata(path: Path, content: Any) -> None:
    """An array's, or what a store keeps of all its arrays in one place."""
    if "metadata" in content or "consolidated_metadata" in content:
        kept = content.get("metadata") or (content.get("consolidated_metadata") or {}).get("metadata") or {}
        for one in kept.values():
            _check_metadata(path, one)
    for codec in _codecs(content):
        name = codec if isinstance(codec, str) else codec.get("id", codec.get("name"))
        if str(name).removeprefix("numcodecs.") not in _CODECS:
            raise BadInput(f"{path}: is packed with {name!r:.40}; pack it with zlib, zstd or blosc")
    if "shape" not in content:
        return
    text = content.get("dtype") == "|O"  # strings, by a codec that is checked above
    if "dtype" in content and not text and str(content["dtype"])[1:2] not in ("M", "m"):
        plain_dtype(content["dtype"])
    chunk = content.get("chunks") or content.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape") or [1]
    check_size(path, "one chunk", math.prod(int(n) for n in chunk) * 8)
    if len(content["shape"]) < 2:  # coordinates, which are read whole
        check_size(path, "the array", math.prod(int(n) for n in content["shape"]) * 8)


def _codecs(content: dict[str, Any]) -> list[Any]:
    found = [*(content.get("filters") or []), *(content.get("codecs") or [])]
    found += [content["compressor"]] if content.get("compressor") else []
    inner = [c.get("configuration") or {} for c in found if isinstance(c, dict)]
    return found + [c for i in inner for key in ("codecs", "index_codecs") for c in i.get(key) or []]
