"""Human3.6M (Ionescu et al. 2014, vision.imar.ro/human3.6m) as prepared poses, from the files people hold.

The data set is licensed and not ours to give; :func:`prepare` reads what its holders have:

- VideoPose3D: ``data_3d_h36m.npz`` (world, metres, 32 joints) with any ``data_2d_h36m_<name>.npz``;
- mmpose: ``h36m_train.npz``, ``h36m_test.npz`` (camera, metres), ``cameras.pkl``, ``joint_2d_det_files/*.npy``;
- MotionBERT: ``h36m_<detector>_..cam_source..pkl`` (pixels; depth scaled to pixels; what its protocol needs);
- h36m-fetch: ``S*/<Action>-<n>/annot.h5`` (camera, millimetres, 32 joints).

The first three hold pickles, which can run code: :func:`moga_st.storage.read_pickle` reads them as plain data and
refuses the rest.  mmpose brings its own cameras; the others use the published calibration (human36m_cameras.py).

Shape legend: ``n`` frames of a file, ``t`` frames of a clip, 17 joints; Human3.6M itself has 32.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from moga_st.data.pose.camera import Camera
from moga_st.data.pose.human36m_cameras import CAMERA_NAMES, LENSES, PLACES, camera, camera_of
from moga_st.data.pose.prepared_poses import GT, MotionClip, View, write_poses
from moga_st.data.pose.skeleton import LEFT, RIGHT
from moga_st.errors import BadInput
from moga_st.storage import open_hdf5, open_npy, open_npz, read_dataset, read_pickle

FPS = 50.0
TEST_SUBJECTS = ("S9", "S11")
ACTIONS = (
    *("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting", "SittingDown"),
    *("Smoking", "Photo", "Waiting", "Walking", "WalkDog", "WalkTogether"),
)
"""The 15 actions by VideoPose3D's names; Human3.6M numbers them from 2."""
JOINTS_OF_32 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
"""Which of Human3.6M's 32 joints the 17 are."""
LICENCE = (
    "Human3.6M: for academic use by those who hold its licence (vision.imar.ro/human3.6m); not to be passed on. Cite "
    "Ionescu, Papava, Olaru, Sminchisescu, PAMI 2014, and Ionescu, Li, Sminchisescu, ICCV 2011."
)

_ALIASES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}


def prepare(src: Path, out: Path) -> None:
    """Write the prepared file from whatever of the four formats ``src`` (a folder, or the pack's file) holds.

    Raises:
        BadInput: none of them or several, or a file that is not as expected; the message says what was looked
            for, or names the file.
    """
    looked_for = {
        "VideoPose3D (data_3d_h36m.npz)": (_from_videopose3d, _find(src, "data_3d_h36m.npz")),
        "mmpose (h36m_train.npz and h36m_test.npz beside or below cameras.pkl)": (_from_mmpose, _mmpose_files(src)),
        "MotionBERT (h36m_*cam_source*.pkl)": (_from_motionbert, _find(src, "h36m_*cam_source*.pkl")),
        "h36m-fetch (S*/*/annot.h5)": (_from_h36m_fetch, _find(src, "annot.h5")),
    }
    found = {name: (read, files) for name, (read, files) in looked_for.items() if files}
    if not found:
        raise BadInput(f"{src}: holds no Human3.6M that can be read; looked, also in folders below, for "
                       f"{'; '.join(looked_for)}")  # fmt: skip
    if len(found) > 1:
        raise BadInput(f"{src}: holds several formats, {' and '.join(found)}; name the folder of one")
    [(name, (read, files))] = found.items()
    write_poses(out, read(files), f"Human3.6M, from the files of {name}", LICENCE)


def _find(src: Path, pattern: str) -> list[Path]:
    if src.is_file():
        return [src] if src.match(pattern) else []
    return sorted(src.rglob(pattern))


def _action(name: str) -> str:
    """The plain action of names like "Directions 1", "TakingPhoto_2" or "WalkDog"."""
    base = re.split(r"[ _-]", name)[0]
    return _ALIASES.get(base, base)


def _numbered(number: int, path: Path) -> str:
    if not 2 <= number < 2 + len(ACTIONS):
        raise BadInput(f"{path}: action number {number}, expected 2 to {1 + len(ACTIONS)}")
    return ACTIONS[number - 2]


def _merge(name: str, subject: str, action: str, views: dict[str, tuple[np.ndarray, View]]) -> Iterator[MotionClip]:
    """The views of one take, each with its frame numbers, as clips: one, unless cameras saw different frames."""
    groups: dict[bytes, dict[str, tuple[np.ndarray, View]]] = {}
    for camera_name, (frames, view) in views.items():
        groups.setdefault(frames.astype(np.int64).tobytes(), {})[camera_name] = (frames, view)
    for group in groups.values():
        frames = next(iter(group.values()))[0].astype(np.int64)
        steps = np.diff(frames)
        even = len(set(steps.tolist())) <= 1
        yield MotionClip(
            name if len(groups) == 1 else f"{name} [{' '.join(group)}]",
            subject,
            action,
            FPS / int(steps[0]) if even and len(steps) else FPS,
            views={camera_name: view for camera_name, (_, view) in group.items()},
            frame=None if even else frames,
        )


# ---------------------------------------------------------------------------------------------------------
# VideoPose3D


def _from_videopose3d(files: list[Path]) -> Iterator[MotionClip]:
    path = files[0]
    keypoints = {
        p.stem.removeprefix("data_2d_h36m_"): (p, _keypoints_2d(p))
        for p in sorted(path.parent.glob("data_2d_h36m_*.npz"))
    }
    for subject, actions in _mapping(_entry(path, "positions_3d"), path, "positions_3d").items():
        for name, positions in _mapping(actions, path, subject).items():
            world_m = _numbers(positions, f"{path}: {subject} {name}")
            if world_m.shape[1:] != (32, 3):
                raise BadInput(f"{path}: {subject} {name} has shape {world_m.shape}, expected (t, 32, 3)")
            world_m = world_m[:, JOINTS_OF_32]
            if subject not in PLACES:
                raise BadInput(f"{path}: has a subject {subject!r:.40}, expected {', '.join(PLACES)}")
            given = {k: _take(p, data, subject, name, len(world_m)) for k, (p, data) in keypoints.items()}
            views: dict[str, View] = {}
            for camera_name in CAMERA_NAMES:
                own = {k: take[camera_name] for k, take in given.items() if camera_name in take}
                if own or not any(given.values()):  # one that no file saw, while others were seen, was not there
                    views[camera_name] = View(camera(subject, camera_name), keypoints=own)
            yield MotionClip(f"{subject}/{name}", subject, _action(name), FPS, world_m, views)


def _keypoints_2d(path: Path) -> dict[str, Any]:
    metadata = _entry(path, "metadata")
    sides = metadata.get("keypoints_symmetry") if isinstance(metadata, dict) else None
    if sides is not None:
        sides = [sorted(_numbers(side, f"{path}: its keypoints_symmetry").ravel().tolist()) for side in sides]
        if sides != [sorted(LEFT), sorted(RIGHT)]:
            raise BadInput(
                f"{path}: its keypoints are not the 17 of Human3.6M (left and right are {sides!r:.200}); move it away"
            )
    return _mapping(_entry(path, "positions_2d"), path, "positions_2d")


def _take(path: Path, data: dict[str, Any], subject: str, name: str, frames: int) -> dict[str, np.ndarray]:
    """A clip's keypoints (t, 17, 2) by camera, of those that have some; nothing of a subject that the file does not
    have.  Videos run on for some frames after the capture has ended."""
    if subject not in data:
        return {}
    views: Any = _mapping(data[subject], path, subject).get(name)
    is_list = isinstance(views, (list, tuple)) or (isinstance(views, np.ndarray) and views.ndim > 0)
    if not is_list or len(views) != len(CAMERA_NAMES):
        raise BadInput(
            f"{path}: has no keypoints of four cameras for {subject} {name!r}, which data_3d_h36m.npz has; give an "
            f"empty array in the place of a missing camera (the places are {', '.join(CAMERA_NAMES)})"
        )
    found = {}
    for camera_name, given in zip(CAMERA_NAMES, views, strict=True):
        if given is None or np.size(given) == 0:
            continue
        points = _numbers(given, f"{path}: {subject} {name!r}, camera {camera_name}")
        if points.shape[1:] not in ((17, 2), (17, 3)) or len(points) < frames:
            raise BadInput(
                f"{path}: {subject} {name!r}, camera {camera_name} has shape {points.shape}, expected "
                f"({frames} or more, 17, 2)"
            )
        found[camera_name] = points[:frames]
    return found


def _mapping(value: Any, path: Path, what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise BadInput(f"{path}: {what} is no dict by names; expected the layout of VideoPose3D's files")
    return value


def _entry(path: Path, name: str) -> Any:
    """What a .npz has under a name; None if it has nothing there."""
    with open_npz(path) as file:
        return file.value(name) if name in file else None


def _numbers(value: Any, where: str) -> np.ndarray:
    """Numbers as float32.

    Raises:
        BadInput: they are none, or of uneven lengths; the message begins with ``where``.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind in "iuf":
            return array.astype(np.float32)
    except (ValueError, TypeError, RecursionError):
        pass
    raise BadInput(f"{where}: expected numbers in an even grid, got {type(value).__name__}")


# ---------------------------------------------------------------------------------------------------------
# mmpose


def _mmpose_files(src: Path) -> list[Path]:
    files = [p for name in ("h36m_train.npz", "h36m_test.npz") for p in _find(src, name)] if src.is_dir() else []
    if len({p.parent for p in files}) > 1:
        folders = ", ".join(sorted({str(p.parent) for p in files}))
        raise BadInput(f"{src}: holds mmpose files at several frame rates ({folders}); name one of these folders")
    return files


def _from_mmpose(files: list[Path]) -> Iterator[MotionClip]:
    folder = files[0].parent
    known = [p for f in (folder, folder.parent, folder.parent.parent) if (p := f / "cameras.pkl").is_file()]
    if not known:
        raise BadInput(f"{folder}: cameras.pkl is neither here nor in the two folders above; add it")
    cameras = read_pickle(known[0])
    if not isinstance(cameras, dict):
        raise BadInput(f"{known[0]}: holds no cameras by subject and name, as mmpose's converter writes them")
    for path in files:
        yield from _mmpose_split(path, known[0], cameras)


def _mmpose_split(path: Path, cameras_path: Path, cameras: dict[Any, Any]) -> Iterator[MotionClip]:
    with open_npz(path) as file:
        names, pose, part = (file.array(key) if key in file else np.zeros(0) for key in ("imgname", "S", "part"))
    n = names.size
    if names.shape != (n,) or names.dtype.kind != "U" or pose.shape != (n, 17, 4) or part.shape != (n, 17, 3):
        raise BadInput(f"{path}: expected imgname (n,), S (n, 17, 4) and part (n, 17, 3), as mmpose's converter writes")
    pose, part = (_numbers(array, f"{path}: {key}") for key, array in (("S", pose), ("part", part)))
    split = path.stem.removeprefix("h36m")
    detections = {}
    for p in sorted((cameras_path.parent.parent / "joint_2d_det_files").glob(f"*{split}.npy")):
        detections[p.stem.removesuffix(split)] = found = open_npy(p)
        if found.shape != (len(names), 17, 3):
            raise BadInput(
                f"{p}: has shape {found.shape}, expected ({len(names)}, 17, 3), a row for each of {path.name}"
            )
    takes: dict[tuple[str, str], dict[str, list[tuple[int, int]]]] = {}  # take: camera: (frame, row)
    for row, image in enumerate(names.tolist()):
        parts = re.fullmatch(r"(S\d+)_(.+)\.(\d+)_(\d+)\.\w+", Path(image).name)
        if parts is None:
            raise BadInput(f"{path}: image name {image!r}, expected like S1_Directions_1.54138969_000001.jpg")
        subject, take, camera_name, frame = parts.groups()
        takes.setdefault((subject, take), {}).setdefault(camera_name, []).append((int(frame), row))
    for (subject, take), by_camera in takes.items():
        views: dict[str, tuple[np.ndarray, View]] = {}
        for camera_name, pairs in by_camera.items():
            frames, rows = np.array(sorted(pairs)).T
            own = {GT: part[rows, :, :2], **{name: np.asarray(found[rows]) for name, found in detections.items()}}
            view = View(_mmpose_camera(cameras_path, cameras, subject, camera_name), pose[rows, :, :3], own)
            views[camera_name] = (frames, view)
        yield from _merge(f"{subject}/{take}", subject, _action(take), views)


def _mmpose_camera(path: Path, cameras: dict[Any, Any], subject: str, name: str) -> Camera:
    try:
        c = cameras[subject, name]
        # R turns the camera's axes into the world's; p is (along y, along x), as in Human3.6M's own file
        values = [np.array(c[key], np.float64) for key in ("R", "T", "f", "c", "w", "h", "k", "p")]
        if not all(np.isfinite(v).all() for v in values):
            raise ValueError("numbers that are not finite")
        rotation, place, focal, centre, width, height, radial, tangential = values
        size = (width, height)
        return camera_of(rotation.T, place, focal, centre, size, radial, np.ravel(tangential)[::-1])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadInput(
            f"{path}: no camera {name} of {subject} with R, T, f, c, k, p, w and h ({type(error).__name__}: {error})"
        ) from error


# ---------------------------------------------------------------------------------------------------------
# MotionBERT


def _from_motionbert(files: list[Path]) -> Iterator[MotionClip]:
    if len(files) > 1:
        raise BadInput(f"{files[0].parent}: holds {len(files)} MotionBERT packs; name one file")
    [path] = files
    detector = path.name.split("_")[1]
    pack = _mapping(read_pickle(path), path, "the pack")
    for split in ("train", "test"):
        if split in pack:
            yield from _pack_split(path, detector, split, _mapping(pack[split], path, split))


def _pack_split(path: Path, detector: str, split: str, data: dict[str, Any]) -> Iterator[MotionClip]:
    missing = {"joint_2d", "joint3d_image", "camera_name", "source"} - set(data)
    if missing:
        raise BadInput(f"{path}: {split} lacks {', '.join(sorted(missing))}")
    shapes = {"joint_2d": (17, 2), "confidence": (17, 1), "2.5d_factor": ()}
    shapes |= dict.fromkeys(("joint3d_image", "joints_2.5d_image"), (17, 3))
    source, camera_name = (_texts(data[key], f"{path}: {split}'s {key}") for key in ("source", "camera_name"))
    arrays: dict[str, np.ndarray] = {}
    for key in shapes.keys() & data.keys():
        array = _numbers(data[key], f"{path}: {split}'s {key}")
        if key == "confidence" and array.ndim == 2:
            array = array[..., None]
        if key == "joint_2d" and array.ndim:
            array = array[..., :2]
        if array.shape != (len(source), *shapes[key]) or len(camera_name) != len(source):
            raise BadInput(
                f"{path}: {split}'s {key} has shape {array.shape}, expected {(len(source), *shapes[key])}, a row "
                f"for each of its {len(source)} sources and {len(camera_name)} camera names"
            )
        arrays[key] = array
    keypoints = np.concatenate([arrays.pop(key) for key in ("joint_2d", "confidence") if key in arrays], -1)
    # A take is a run of rows of one source, as MotionBERT cuts them; the same source again is another take.
    bounds = [0, *(np.flatnonzero(source[1:] != source[:-1]) + 1).tolist(), len(source)]
    takes: dict[tuple[str, int], dict[str, tuple[np.ndarray, View]]] = {}
    seen: dict[str, int] = {}
    for start, stop in pairwise(bounds):
        label = str(source[start])
        parts = re.fullmatch(r"(s_(\d+)_act_(\d+)(?:_subact_\d+)?)_cam?_(\d+)", label)
        if parts is None or not 1 <= int(parts[4]) <= len(CAMERA_NAMES):
            raise BadInput(f"{path}: source {label!r}, expected like s_01_act_02_subact_01_ca_01")
        nth = seen[label] = seen.get(label, -1) + 1
        rows = slice(start, stop)
        own = {key: array[rows] for key, array in sorted(arrays.items())}
        named = sorted(set(camera_name[rows].tolist()))
        if len(named) == 1:
            name = named[0]
        else:
            # Rows of one take under several cameras' names: the number in `source` says which camera it was,
            # but the protocol normalises each frame by the image size of the camera that its row names.
            name = CAMERA_NAMES[int(parts[4]) - 1]
            own["size_px"] = np.array([_size(path, c) for c in camera_name[rows].tolist()], np.float32)
        if name in takes.get((parts[1], nth), {}):
            raise BadInput(f"{path}: camera {name} comes twice in {parts[1]} of {split}")
        view = View(camera(f"S{int(parts[2])}", name), None, {detector: keypoints[rows]}, own)
        takes.setdefault((parts[1], nth), {})[name] = (np.arange(stop - start), view)
    for (label, nth), views in takes.items():
        _, subject, _, action, *_ = label.split("_")
        name = f"S{int(subject)}/{label}" + (f"_p{nth}" if nth else "")
        yield from _merge(name, f"S{int(subject)}", _numbered(int(action), path), views)


def _texts(value: Any, where: str) -> np.ndarray:
    """Names in a row, (n,) str."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "US":
        value = value.astype(str)
    elif isinstance(value, list) and all(isinstance(v, str) for v in value):
        value = np.array(value, str)
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind != "U":
        raise BadInput(f"{where}: expected names in a row, got {type(value).__name__}")
    return value


def _size(path: Path, name: str) -> tuple[int, int]:
    if name not in LENSES:
        raise BadInput(f"{path}: camera_name {name!r}, expected one of {', '.join(CAMERA_NAMES)}")
    return LENSES[name].size_px


# ---------------------------------------------------------------------------------------------------------
# h36m-fetch


def _from_h36m_fetch(files: list[Path]) -> Iterator[MotionClip]:
    shapes = {"pose/2d": (32, 2), "pose/3d": (32, 3)}
    shapes |= dict.fromkeys(("camera", "frame", "subject", "action", "subaction"), ())
    for path in files:
        with open_hdf5(path) as file:
            missing = [key for key in shapes if key not in file]
            if missing:
                raise BadInput(f"{path}: expected h36m-fetch's {', '.join(shapes)}; it lacks {', '.join(missing)}")
            data = {key: read_dataset(file[key]) for key in shapes}
        rows = len(data["camera"]) if data["camera"].ndim else 0
        for key, shape in shapes.items():
            if data[key].shape != (rows, *shape) or not rows or (shape == () and data[key].dtype.kind not in "iu"):
                raise BadInput(f"{path}: {key} is {data[key].dtype} {data[key].shape}, expected {(rows, *shape)}")
        subject, action, take = (int(data[key][0]) for key in ("subject", "action", "subaction"))
        yield from _fetched_take(path, subject, action, take, data)


def _fetched_take(
    path: Path, subject: int, action: int, take: int, data: dict[str, np.ndarray]
) -> Iterator[MotionClip]:
    views: dict[str, tuple[np.ndarray, View]] = {}
    for number in np.unique(data["camera"]).tolist():
        rows = np.flatnonzero(data["camera"] == number)
        rows = rows[np.argsort(data["frame"][rows])]
        camera_m = (data["pose/3d"][rows][:, JOINTS_OF_32] / 1000).astype(np.float32)
        keypoints = {GT: data["pose/2d"][rows][:, JOINTS_OF_32].astype(np.float32)}
        view = View(camera(f"S{subject}", str(number)), camera_m, keypoints)
        views[str(number)] = (data["frame"][rows], view)
    name = _numbered(action, path)
    yield from _merge(f"S{subject}/{name}-{take}", f"S{subject}", name, views)
