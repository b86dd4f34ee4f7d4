"""The prepared pose file: one HDF5 file of motion clips with their cameras, whatever the source was.

Layout (h5py; all floats float32 unless said, all arrays finite, one clip in memory at a time)::

    /                        attributes: format "moga_st poses", version 1, source, licence, joints, units
    /clips/000000            attributes: name, subject, action, fps
        world_m              (t, 17, 3) joints in the world, z up; absent where the source has none
        frame                (t,) int64, only where the source left frames out: their numbers in the video
        views/<camera>       attributes: the fields of moga_st.data.pose.camera.Camera, float64
            camera_m         (t, 17, 3) joints in the camera; absent where world_m and the camera give them
            keypoints/<name> (t, 17, 2) px, or (t, 17, 3) with a confidence; a detector's name, or "gt"
            extra/<name>     (t, ...) what only one protocol needs, as its source has it

Camera-space poses and ground-truth keypoints are computed on reading (:meth:`Clip.camera_m`,
:meth:`Clip.keypoints`) unless the source gives its own, so that they cost no space and cannot disagree.

Shape legend: ``t`` frames of a clip, 17 joints in the order of :data:`moga_st.data.pose.skeleton.JOINTS`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch

from moga_st.data.pose.camera import Camera, project, world_to_camera
from moga_st.data.pose.skeleton import JOINTS
from moga_st.errors import BadInput, nearest
from moga_st.storage import attribute, escape, open_hdf5, read_dataset, write_atomically

FORMAT, VERSION = "moga_st poses", 1
UNITS = "metres and pixels, by the suffix of each name; world z up"
GT = "gt"

_J = len(JOINTS)
_CAMERA = tuple(f.name for f in dataclasses.fields(Camera))


@dataclass(frozen=True, eq=False)
class View:
    """One camera's view of a clip: what the source gives, nothing derived."""

    camera: Camera
    camera_m: np.ndarray | None = None  # (t, 17, 3)
    keypoints: Mapping[str, np.ndarray] = field(default_factory=dict)  # name: (t, 17, 2 or 3) px
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)  # name: (t, ...)


@dataclass(frozen=True, eq=False)
class MotionClip:
    """One motion clip.

    Raises:
        BadInput: no frames, another joint count, arrays that differ in length, NaN or infinite values; the
            message names the clip, the array and the first bad frame.
    """

    name: str
    subject: str
    action: str
    fps: float
    world_m: np.ndarray | None = None  # (t, 17, 3)
    views: Mapping[str, View] = field(default_factory=dict)  # by the camera's name
    frame: np.ndarray | None = None  # (t,): numbers in the source, where some were left out

    def __post_init__(self) -> None:
        arrays = list(self._arrays())
        if not arrays:
            raise BadInput(f"clip {self.name}: holds no poses and no keypoints")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise BadInput(f"clip {self.name}: fps must be positive, got {self.fps}")
        for what, array, shapes in arrays:
            if shapes and array.shape[1:] not in shapes:
                expected = " or ".join(f"(t, {', '.join(map(str, s))})" for s in shapes)
                raise BadInput(f"clip {self.name}: {what} has shape {array.shape}, expected {expected}")
            if array.ndim == 0 or len(array) != len(self) or len(array) == 0:
                raise BadInput(f"clip {self.name}: {what} has shape {array.shape}, expected {len(self)} or more frames")
            bad = ~np.isfinite(array).reshape(len(array), -1).all(1)
            if bad.any():
                raise BadInput(
                    f"clip {self.name}: {what} holds NaN or infinite values, first in frame {int(bad.argmax())} of "
                    f"{len(array)}; mend the source, or cut those frames out of it"
                )

    def __len__(self) -> int:
        """Frames."""
        return max((len(array) for _, array, _ in self._arrays() if array.ndim), default=0)

    @property
    def evenly_spaced(self) -> bool:
        """Whether all frames are equally far apart in time; if not, only single frames of it make sense."""
        return self.frame is None or len(set(np.diff(self.frame).tolist())) <= 1

    def camera_m(self, view: str) -> np.ndarray:
        """Joints in a camera's space, metres: (t, 17, 3) float32, the source's own or from the world.

        Raises:
            BadInput: the clip has neither.
        """
        given = self.views[view].camera_m
        if given is not None:
            return given
        return self._seen(view).float().numpy()

    def keypoints(self, view: str, name: str) -> np.ndarray:
        """2D keypoints: (t, 17, 2 or 3) float32 px; "gt" is the exact projection unless the source has its own.

        Raises:
            BadInput: the clip has no keypoints of that name.
        """
        given = self.views[view].keypoints.get(name)
        if given is not None:
            return given
        if name != GT:
            known = ", ".join([*self.views[view].keypoints, GT])
            raise BadInput(f"clip {self.name}: camera {view} has no 2D keypoints {name!r}; it has {known}")
        given_3d = self.views[view].camera_m
        points = self._seen(view) if given_3d is None else torch.from_numpy(given_3d).double()
        return project(points, self.views[view].camera).float().numpy()

    def _seen(self, view: str) -> torch.Tensor:
        """The world's joints in a camera's space, float64."""
        if self.world_m is None:
            raise BadInput(f"clip {self.name}: has no 3D poses in metres that camera {view} could see")
        return world_to_camera(torch.from_numpy(self.world_m).double(), self.views[view].camera)

    def _arrays(self) -> Iterator[tuple[str, np.ndarray, tuple[tuple[int, ...], ...]]]:
        """Every array with its name and the shapes a frame of it may have (none given: any)."""
        if self.world_m is not None:
            yield "world_m", self.world_m, ((_J, 3),)
        if self.frame is not None:
            yield "frame", self.frame, ((),)
        for camera, view in self.views.items():
            if view.camera_m is not None:
                yield f"{camera}/camera_m", view.camera_m, ((_J, 3),)
            for name, array in view.keypoints.items():
                yield f"{camera}/keypoints/{name}", array, ((_J, 2), (_J, 3))
            for name, array in view.extra.items():
                yield f"{camera}/extra/{name}", array, ()


class Entry(NamedTuple):
    """One clip in a file's table of contents."""

    name: str
    subject: str
    action: str
    fps: float
    frames: int
    views: tuple[str, ...]
    keypoints: tuple[str, ...]  # 2D sources that every view has, "gt" among them where it can be computed


class Contents(NamedTuple):
    """What a prepared file holds, without its arrays."""

    source: str
    licence: str
    clips: tuple[Entry, ...]


def write_poses(path: Path, clips: Iterable[MotionClip], source: str, licence: str) -> None:
    """Write a prepared file, atomically, taking one clip at a time from ``clips``.

    The same clips give the same bytes.

    Raises:
        BadInput: no clips, or two of one name.
        OSError: it could not be written; ``path`` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda part: _write(part, clips, source, licence))


def read_contents(path: Path) -> Contents:
    """The table of contents of a prepared file.

    Raises:
        BadInput: no such file, not HDF5, damaged, another format or version, or other joints.
    """
    with _opened(path) as file:
        entries = tuple(_entry(group) for group in file["clips"].values())
        return Contents(attribute(file, "source", str), attribute(file, "licence", str), entries)


def read_clips(path: Path, subjects: Collection[str] | None = None) -> Iterator[MotionClip]:
    """The clips of a prepared file, one at a time, in their order; of some subjects only, if given.

    Raises:
        BadInput: see :func:`read_contents`; a subject that the file does not have; a bad array.
    """
    known = {c.subject for c in read_contents(path).clips}
    for name in subjects or ():
        if name not in known:
            raise BadInput(f"{path}: has no subject {name!r}{nearest(name, known)}; it has {_listed(known)}")
    return _read(path, subjects)


def describe(path: Path) -> str:
    """A prepared file in a few lines for people.

    Raises:
        BadInput: see :func:`read_contents`.
    """
    contents = read_contents(path)
    frames, count = Counter[str](), Counter[str]()
    for clip in contents.clips:
        frames[clip.subject] += clip.frames
        count[clip.subject] += 1
    seconds = sum(c.frames / c.fps for c in contents.clips)
    have = Counter(name for c in contents.clips for name in c.keypoints)
    sources = [k if n == len(contents.clips) else f"{k} (in {n} of them)" for k, n in sorted(have.items())]
    lines = [
        f"{path} ({path.stat().st_size / 1e6:.1f} MB): {contents.source}",
        f"licence: {contents.licence}",
        f"{len(contents.clips)} clips, {sum(frames.values()):,} frames, {seconds / 60:.1f} minutes at "
        f"{_listed(f'{c.fps:g}' for c in contents.clips)} fps, "
        f"{_listed(str(len(c.views)) for c in contents.clips)} cameras a clip, "
        f"2D keypoints {', '.join(sources) or 'none'}",
        *(f"  {s}: {count[s]} clips, {frames[s]:,} frames" for s in sorted(frames, key=_by_number)),
    ]
    return "\n".join(map(escape, lines))


def _write(part: Path, clips: Iterable[MotionClip], source: str, licence: str) -> None:
    names: set[str] = set()
    with h5py.File(part, "w") as file:
        file.attrs.update(
            format=FORMAT, version=VERSION, source=source, licence=licence, joints=list(JOINTS), units=UNITS
        )
        root = file.create_group("clips")
        for clip in clips:
            if clip.name in names:
                raise BadInput(f"clip {clip.name}: comes twice; every clip needs a name of its own")
            group = root.create_group(f"{len(names):06d}")
            names.add(clip.name)
            group.attrs.update(name=clip.name, subject=clip.subject, action=clip.action, fps=float(clip.fps))
            if clip.world_m is not None:
                _save(group, "world_m", clip.world_m)
            if clip.frame is not None:
                _save(group, "frame", clip.frame)
            views = group.create_group("views")
            for camera, view in clip.views.items():
                into = views.create_group(camera)
                values = {name: getattr(view.camera, name) for name in _CAMERA}
                into.attrs.update({name: v.double().numpy() for name, v in values.items() if v is not None})
                if view.camera_m is not None:
                    _save(into, "camera_m", view.camera_m)
                for kind, arrays in (("keypoints", view.keypoints), ("extra", view.extra)):
                    for name, array in arrays.items():
                        _save(into, f"{kind}/{name}", array)
        if not names:
            raise BadInput(f"{source}: no clips to write")


def _save(group: Any, name: str, array: np.ndarray) -> None:
    dtype = np.int64 if np.issubdtype(array.dtype, np.integer) else np.float32
    # one chunk: clips are read whole
    group.create_dataset(
        name, data=array.astype(dtype), chunks=array.shape, compression="gzip", shuffle=True, track_times=False
    )


def _read(path: Path, subjects: Collection[str] | None) -> Iterator[MotionClip]:
    with _opened(path) as file:
        for group in file["clips"].values():
            if subjects is None or attribute(group, "subject", str) in subjects:
                yield _read_clip(group)


def _entry(group: Any) -> Entry:
    views = group["views"]
    frames = next(_datasets(group)).shape[0]
    given = [
        {*view.get("keypoints", ()), *([GT] if "world_m" in group or "camera_m" in view else ())}
        for view in views.values()
    ]
    keypoints = tuple(sorted(set.intersection(*given))) if given else ()
    return Entry(*_about(group), frames, tuple(views), keypoints)


def _about(group: Any) -> tuple[str, str, str, float]:
    """Name, subject, action and frame rate of a clip."""
    name, subject, action = (attribute(group, key, str) for key in ("name", "subject", "action"))
    return name, subject, action, attribute(group, "fps", float)


def _read_clip(group: Any) -> MotionClip:
    views = {
        name: View(
            _camera(view),
            _optional(view, "camera_m"),
            {key: read_dataset(array) for key, array in view.get("keypoints", {}).items()},
            {key: read_dataset(array) for key, array in view.get("extra", {}).items()},
        )
        for name, view in group["views"].items()  # in the order of their names
    }
    world_m, frame = _optional(group, "world_m"), _optional(group, "frame")
    return MotionClip(*_about(group), world_m, views, frame)


def _camera(view: Any) -> Camera:
    values = {key: np.asarray(view.attrs[key]) for key in _CAMERA if key in view.attrs}
    for key, value in values.items():
        if value.dtype != np.float64 or value.size > 9 or not np.isfinite(value).all():
            raise BadInput(f"{view.name}: {key} is {value.dtype} {value.shape}, expected finite float64 of one camera")
    return Camera(**{key: torch.from_numpy(value) for key, value in values.items()})


def _optional(group: Any, name: str) -> np.ndarray | None:
    return read_dataset(group[name]) if name in group else None


def _datasets(group: Any) -> Iterator[Any]:
    for item in group.values():
        if isinstance(item, h5py.Dataset):
            yield item
        else:
            yield from _datasets(item)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The HDF5 file, checked; whatever is found broken inside is a BadInput that names it."""
    again = "prepare it again with `moga-st data prepare`"
    if not path.is_file():
        raise BadInput(f"{path}: no such file; {again.replace(' again', '')}")
    with open_hdf5(path) as file:
        about = file.attrs
        if about.get("format") != FORMAT:
            problem = f"an HDF5 file, but no prepared poses (its format is {about.get('format')!r:.60})"
        elif about.get("version") != VERSION:
            problem = f"version {about.get('version')!s:.40} of the format, this is moga_st for version {VERSION}"
        elif list(about.get("joints", ())) != list(JOINTS):
            problem = f"has {len(about.get('joints', ()))} joints that are not the {_J} of Human3.6M in their order"
        else:
            yield file
            return
        raise BadInput(f"{path}: {problem}; {again}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names), key=_by_number))


def _by_number(name: str) -> tuple[int, str]:
    digits = "".join(c for c in name if c.isdigit())
    return (int(digits) if digits else -1, name)
