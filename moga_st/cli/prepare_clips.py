"""`moga-st data prepare clips SRC` and `moga-st data describe FILE`."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from moga_st.cli.parsing import named, parse
from moga_st.config import data_root
from moga_st.data.video.prepare import ClipsOptions, prepare_clips
from moga_st.data.video.prepared_clips import FORMAT, describe
from moga_st.errors import BadInput
from moga_st.storage import escape


@dataclass(frozen=True)
class PrepareClips:
    """Turn own clips (videos, GIFs, folders of frames, arrays, NetCDF, Zarr; a folder of them or a long recording) into
    the one HDF5 file that the recipe `clips` trains on."""

    source: Annotated[Positional[Path], named("SRC")]
    """A clip, or a folder of them; told by content, whatever the names end in."""
    how: Annotated[ClipsOptions, tyro.conf.arg(name="")] = dataclasses.field(default_factory=ClipsOptions)
    out: Path | None = None
    """File to write; default clips.h5 in the data root."""
    data_root: Path | None = None
    """Folder that holds the data; default MOGA_ST_DATA, then datasets/ of the checkout."""


@dataclass(frozen=True)
class Describe:
    """Say what a prepared file of clips or poses holds."""

    file: Annotated[Positional[Path], named("FILE")]
    """The HDF5 file."""


def run_prepare(argv: list[str]) -> None:
    args = parse(PrepareClips, "moga-st data prepare clips", argv)
    out = args.out or data_root(args.data_root) / "clips.h5"
    if out.exists():
        raise BadInput(f"{out}: exists already; remove it, or name another file with --out")
    prepare_clips(args.source, out, args.how, lambda line: print(escape(line), file=sys.stderr))
    print(describe(out))


def run_describe(argv: list[str]) -> None:
    from moga_st import storage
    from moga_st.data.pose import prepared_poses

    path = parse(Describe, "moga-st data describe", argv).file
    with storage.open_hdf5(path) as file:
        is_clips = storage.attribute(file, "format", str) == FORMAT if "format" in file.attrs else True
    print(describe(path) if is_clips else prepared_poses.describe(path))
