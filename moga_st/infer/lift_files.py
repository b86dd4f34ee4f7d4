"""The files of one lifted person: which there are, how they are named, and that none is overwritten in silence."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np

from moga_st.data.pose.bvh import write_bvh
from moga_st.data.pose.export.gltf import write_gltf
from moga_st.data.pose.export.motion import Motion, write_npz
from moga_st.data.pose.export.tables import write_csv, write_trc
from moga_st.data.pose.keypoints import Keypoints
from moga_st.data.video.clips import Video
from moga_st.draw.pose import drawn_every, ordinal, save_lift
from moga_st.draw.pose_heat import save_pose_heat
from moga_st.errors import BadInput
from moga_st.infer.lift import CameFrom

WRITERS: dict[str, Callable[[Path, Motion], None]] = {
    "npz": write_npz,
    "bvh": lambda path, motion: write_bvh(path, motion.poses_m, motion.fps),
    "glb": write_gltf,
    "csv": write_csv,
    "trc": write_trc,
}
"""Of motion, by suffix."""
PICTURES = ("png", "gif", "mp4")


def stem_of(folder: Path, source: str, k: Keypoints) -> Path:
    """Where the files of a person (and of a part, where long absences split the clip) go, but for the suffix."""
    return folder / (f"{source}_person{k.person}" + (f"_part{k.part + 1}" if k.parts > 1 else "") + "_3d")


def check_frame(people: list[Keypoints], frame: int | None) -> None:
    """That everyone has the frame of `cam_frame`, counted from 1 in each person's own.

    Raises:
        BadInput: somebody has fewer.
    """
    shortest = min(len(k.points_px) for k in people)
    if frame is not None and not 1 <= frame <= shortest:
        raise BadInput(f"`cam_frame`: expected 1 to {shortest}, got {frame}")


def check_free(stems: Iterable[Path], suffixes: Sequence[str]) -> None:
    """Refuse to replace files.

    Raises:
        BadInput: some are there already.
    """
    there = [p for stem in stems for s in suffixes if (p := stem.with_name(f"{stem.name}.{s}")).exists()]
    if there:
        more = f" and {len(there) - 1} more files" if len(there) > 1 else ""
        raise BadInput(f"{there[0]}{more}: there already; give another folder with `out`, or `overwrite`")


def cam_stem(stem: Path) -> Path:
    """Where the picture of what a joint came from goes, but for the suffix."""
    return stem.with_name(f"{stem.name}_cam")


def write_cam(stem: Path, k: Keypoints, found: CameFrom, source: str) -> list[Path]:
    """Write the picture of what a person's joint came from."""
    told = f"{source}, person {k.person}: what {found.joint} of frame {found.frame} came from"
    points = k.points_px[found.frames - 1]
    return save_pose_heat(cam_stem(stem), points, found.heat, found.frames.tolist(), found.frame, found.joint, told)


def write_lifted(
    stem: Path,
    k: Keypoints,
    motion: Motion,
    formats: Sequence[str],
    title: str = "",
    frames: Iterable[np.ndarray] | None = None,
    draw: bool = True,
) -> list[Path]:
    """Write a person's motion in each of the formats (:data:`WRITERS`), and pictures of it.

    Args:
        frames: the images to draw the keypoints on.
        draw: whether to make pictures at all.
    """
    paths = [_with(stem, name) for name in formats]
    for path, name in zip(paths, formats, strict=True):
        WRITERS[name](path, motion)
    if not draw:
        return paths
    begin_s = float(k.times_s[0])
    return [*paths, *save_lift(stem, k.points_px, k.size_px, motion.poses_m, k.fps, title, frames, begin_s=begin_s)]


def _with(stem: Path, suffix: str) -> Path:
    return stem.with_name(f"{stem.name}.{suffix}")


def frames_of(video: Video, k: Keypoints, *, from_0: bool) -> Video:
    """The frames that keypoints were found in, if they are numbered from 0.  Some programs number a video's frames from
    1, which is sure only where the last number would otherwise lie beyond the end."""
    return span_of(video, [k], from_0=from_0)


def span_of(video: Video, people: Sequence[Keypoints], *, from_0: bool) -> Video:
    """The frames from the first to the last in which anybody is; see :func:`frames_of`."""
    step = people[0].frame_step
    begin = min(k.first_frame for k in people)
    last = max(k.first_frame + k.frame_step * (len(k.points_px) - 1) for k in people)
    first = begin - (1 if not from_0 and last == video.frames and begin > 0 else 0)
    return video.part(first, step, (last - begin) // step + 1)


def turned_warning(video: Video) -> str:
    """What to know of a video whose file says that it is to be shown turned on its side; nothing for others."""
    itself = logging.getLogger("imageio_ffmpeg")
    level = itself.level
    itself.setLevel(logging.ERROR)  # it warns of turned videos too, in words that say less
    try:
        with closing(imageio_ffmpeg.read_frames(video.path)) as reader:
            stored = tuple(next(reader)["source_size"])
    except Exception:  # a GIF, or what the decoder does not like: nothing is known of it here
        return ""
    finally:
        itself.setLevel(level)
    if stored == video.size_px or stored != video.size_px[::-1]:
        return ""
    return (
        f"{video.path.name} is shown turned by 90 degrees, as its file says: if people do not stand upright in the "
        "pictures, or lie beside their keypoints, the mark in the file is wrong, or the detector did not follow it"
    )


def facts(k: Keypoints, written: Sequence[Path], frames_per_second: float) -> dict[str, Any]:
    """What was done for a person, for people and as JSON."""
    every = drawn_every(len(k.points_px))
    drawn = any(p.suffix == ".mp4" for p in written)
    return {
        "frames": len(k.points_px),
        "fps": k.fps,
        "people": k.people,
        "person": k.person,
        "input": f"{k.layout}; {k.note}",
        "warnings": list(k.warnings),
        "frames_per_second": round(frames_per_second, 1),
        **({"drawn": f"every {ordinal(every)} frame, since there are so many"} if drawn and every > 1 else {}),
        "written": [str(p) for p in written],
    }
