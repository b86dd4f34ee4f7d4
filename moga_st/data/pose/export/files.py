"""The files of one person's motion: which there are, how they are named, and that none is overwritten in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from moga_st.data.pose.bvh import write_bvh
from moga_st.data.pose.export.gltf import write_gltf
from moga_st.data.pose.export.motion import Motion, write_npz
from moga_st.data.pose.export.tables import write_csv, write_trc
from moga_st.errors import BadInput, nearest

WRITERS: dict[str, Callable[[Path, Motion], None]] = {
    "npz": write_npz,
    "bvh": lambda path, motion: write_bvh(path, motion.poses_m, motion.fps),
    "glb": write_gltf,
    "csv": write_csv,
    "trc": write_trc,
}
"""By suffix."""


def motion_stem(folder: Path, source: str, person: int, part: int = 0, parts: int = 1) -> Path:
    """Where the files of a person (and of a part of their motion, where there are several) go, but for the suffix."""
    return folder / (f"{source}_person{person}" + (f"_part{part + 1}" if parts > 1 else "") + "_3d")


def with_suffix(stem: Path, suffix: str) -> Path:
    """``stem`` with a suffix, whatever dots are in it."""
    return stem.with_name(f"{stem.name}.{suffix}")


def check_formats(formats: Sequence[str]) -> None:
    """Refuse formats that nobody writes.

    Raises:
        BadInput: it names them.
    """
    for name in formats:
        if name not in WRITERS:
            raise BadInput(f"unknown format {name!r}{nearest(name, WRITERS)}; expected of {', '.join(WRITERS)}")


def check_free(paths: Iterable[Path]) -> None:
    """Refuse to replace files.

    Raises:
        BadInput: some are there already.
    """
    there = [p for p in paths if p.exists() or p.is_symlink()]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise BadInput(f"{there[0]}{more}: exists already; name another folder, or allow it to be overwritten")


def write_motion(stem: Path, motion: Motion, formats: Sequence[str]) -> list[Path]:
    """Write ``stem`` in each of the formats; the paths.

    Raises:
        BadInput: an unknown format, or one whose library is not there.
    """
    check_formats(formats)
    paths = [with_suffix(stem, name) for name in formats]
    for path, name in zip(paths, formats, strict=True):
        WRITERS[name](path, motion)
    return paths
