"""Human3.6M (Ionescu et al. 2014, vision.imar.ro/human3.6m) as prepared poses, from the files people hold.

The data set is licensed and not ours to give; :func:`prepare` reads what its holders have:

- VideoPose3D: ``data_3d_h36m.npz`` (world, metres, 32 joints) with any ``data_2d_h36m_<name>.npz``;
- mmpose: ``h36m_train.npz``, ``h36m_test.npz`` (camera, metres), ``cameras.pkl``, ``joint_2d_det_files/*.npy``;
- MotionBERT: ``h36m_<detector>_..cam_source..pkl`` (pixels; depth scaled to pixels; what its protocol needs);
- h36m-fetch: ``S*/<Action>-<n>/annot.h5`` (camera, millimetres, 32 joints).

The first three hold pickles, which can run code: :func:`moga_st.storage.read_pickle` reads them as plain data and
refuses the rest.  mmpose brings its own cameras; the others use the published calibration below.

Shape legend: ``n`` frames of a file, ``t`` frames of a clip, 17 joints; Human3.6M itself has 32.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from moga_st.data.pose.camera import Camera
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


class _Lens(NamedTuple):
    size_px: tuple[int, int]
    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    radial: tuple[float, float, float]
    tangential: tuple[float, float]


# The calibration that ships with Human3.6M, as VideoPose3D publishes it (common/h36m_dataset.py): float32
# values, printed exactly. One lens a camera; one place a camera and subject.
LENSES = {
    "54138969": _Lens(
        (1000, 1002),
        (1145.0494384765625, 1143.7811279296875),
        (512.54150390625, 515.4514770507812),
        (-0.20709891617298126, 0.24777518212795258, -0.0030751503072679043),
        (-0.0009756988729350269, -0.00142447161488235),
    ),
    "55011271": _Lens(
        (1000, 1000),
        (1149.6756591796875, 1147.5916748046875),
        (508.8486328125, 508.0649108886719),
        (-0.1942136287689209, 0.2404085397720337, 0.006819975562393665),
        (-0.0016190266469493508, -0.0027408944442868233),
    ),
    "58860488": _Lens(
        (1000, 1000),
        (1149.1407470703125, 1148.7989501953125),
        (519.8158569335938, 501.40264892578125),
        (-0.2083381861448288, 0.25548800826072693, -0.0024604974314570427),
        (0.0014843869721516967, -0.0007599993259645998),
    ),
    "60457274": _Lens(
        (1000, 1002),
        (1145.5113525390625, 1144.77392578125),
        (514.9682006835938, 501.88201904296875),
        (-0.198384091258049, 0.21832367777824402, -0.008947807364165783),
        (-0.0005872055771760643, -0.0018133620033040643),
    ),
}
CAMERA_NAMES = tuple(LENSES)
"""In the order of all the files, in which cameras are also numbered 1 to 4."""

# subject: for each camera the unit quaternion (w, x, y, z) of its rotation to the world, and its place in mm
PLACES = {
    "S1": (
        ((0.1407056450843811, -0.1500701755285263, -0.755240797996521, 0.6223280429840088),
         (1841.1070556640625, 4955.28466796875, 1563.4454345703125)),
        ((0.6157187819480896, -0.764836311340332, -0.14833825826644897, 0.11794740706682205),
         (1761.278564453125, -5078.0068359375, 1606.2650146484375)),
        ((0.14651472866535187, -0.14647851884365082, 0.7653023600578308, -0.6094175577163696),
         (-1846.7777099609375, 5215.04638671875, 1491.972412109375)),
        ((0.5834008455276489, -0.7853162288665771, 0.14548823237419128, -0.14749594032764435),
         (-1794.7896728515625, -3722.698974609375, 1574.8927001953125)),
    ),
    "S5": (
        ((0.1467377245426178, -0.162370964884758, -0.7551892995834351, 0.6178938746452332),
         (2097.3916015625, 4880.94482421875, 1605.732421875)),
        ((0.6159758567810059, -0.7626792192459106, -0.15728192031383514, 0.1189815029501915),
         (2031.7008056640625, -5167.93310546875, 1612.923095703125)),
        ((0.14291371405124664, -0.12907841801643372, 0.7678384780883789, -0.6110143065452576),
         (-1620.5948486328125, 5171.65869140625, 1496.43701171875)),
        ((0.5920479893684387, -0.7814217805862427, 0.1274748593568802, -0.15036417543888092),
         (-1637.1737060546875, -3867.3173828125, 1547.033203125)),
    ),
    "S6": (
        ((0.1337897777557373, -0.15692396461963654, -0.7571090459823608, 0.6198879480361938),
         (1935.4517822265625, 4950.24560546875, 1618.0838623046875)),
        ((0.6147197484970093, -0.7628812789916992, -0.16174767911434174, 0.11819244921207428),
         (1969.803955078125, -5128.73876953125, 1632.77880859375)),
        ((0.1529948115348816, -0.13529130816459656, 0.7646096348762512, -0.6112781167030334),
         (-1769.596435546875, 5185.361328125, 1476.993408203125)),
        ((0.5916101336479187, -0.7804774045944214, 0.12832270562648773, -0.1561593860387802),
         (-1721.668701171875, -3884.13134765625, 1540.4879150390625)),
    ),
    "S7": (
        ((0.1435241848230362, -0.1631336808204651, -0.7548328638076782, 0.6188824772834778),
         (1974.512939453125, 4926.3544921875, 1597.8326416015625)),
        ((0.6141672730445862, -0.7638262510299683, -0.1596645563840866, 0.1177929937839508),
         (1937.0584716796875, -5119.7900390625, 1631.5665283203125)),
        ((0.14550060033798218, -0.12874816358089447, 0.7660516500473022, -0.6127139329910278),
         (-1741.8111572265625, 5208.24951171875, 1464.8245849609375)),
        ((0.5912848114967346, -0.7821764349937439, 0.12445473670959473, -0.15196487307548523),
         (-1734.7105712890625, -3832.42138671875, 1548.5830078125)),
    ),
    "S8": (
        ((0.14110587537288666, -0.15589867532253265, -0.7561917304992676, 0.619644045829773),
         (2150.65185546875, 4896.1611328125, 1611.9046630859375)),
        ((0.6169601678848267, -0.7647668123245239, -0.14846350252628326, 0.11158157885074615),
         (2219.965576171875, -5148.453125, 1613.0440673828125)),
        ((0.1471444070339203, -0.13377119600772858, 0.7670128345489502, -0.6100369691848755),
         (-1571.2215576171875, 5137.0185546875, 1498.1761474609375)),
        ((0.5927824378013611, -0.7825870513916016, 0.12147816270589828, -0.14631995558738708),
         (-1476.913330078125, -3896.7412109375, 1547.97216796875)),
    ),
    "S9": (
        ((0.15540587902069092, -0.15548215806484222, -0.7532095313072205, 0.6199594736099243),
         (2044.45849609375, 4935.1171875, 1481.2275390625)),
        ((0.618784487247467, -0.7634735107421875, -0.14132238924503326, 0.11933968216180801),
         (1990.959716796875, -5123.810546875, 1568.8048095703125)),
        ((0.13357827067375183, -0.1367100477218628, 0.7689454555511475, -0.6100738644599915),
         (-1670.9921875, 5211.98583984375, 1528.387939453125)),
        ((0.5879399180412292, -0.7823407053947449, 0.1427614390850067, -0.14794869720935822),
         (-1696.04345703125, -3827.099853515625, 1591.4127197265625)),
    ),
    "S11": (
        ((0.15232472121715546, -0.15442320704460144, -0.7547563314437866, 0.6191070079803467),
         (2098.440185546875, 4926.5546875, 1500.278564453125)),
        ((0.6189449429512024, -0.7600917220115662, -0.15300633013248444, 0.1255258321762085),
         (2083.182373046875, -4912.1728515625, 1561.07861328125)),
        ((0.14943228662014008, -0.15650227665901184, 0.7681233882904053, -0.6026304364204407),
         (-1609.8153076171875, 5177.3359375, 1537.896728515625)),
        ((0.5894251465797424, -0.7818877100944519, 0.13991211354732513, -0.14715361595153809),
         (-1590.738037109375, -3854.1689453125, 1578.017578125)),
    ),
}  # fmt: skip


def camera(subject: str, name: str) -> Camera:
    """The published calibration of a camera while a subject was filmed.

    Raises:
        BadInput: an unknown subject or camera.
    """
    if subject not in PLACES or name not in LENSES:
        raise BadInput(
            f"no calibration of camera {name!r} for subject {subject!r}; known are subjects {', '.join(PLACES)} and "
            f"cameras {', '.join(CAMERA_NAMES)}"
        )
    quaternion, place_mm = PLACES[subject][CAMERA_NAMES.index(name)]
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    to_world = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    lens = LENSES[name]
    return _camera(
        to_world.T, np.array(place_mm) / 1000, lens.focal_px, lens.centre_px, lens.size_px, lens.radial, lens.tangential
    )


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


def _camera(rotation: Any, position_m: Any, focal: Any, centre: Any, size: Any, radial: Any, tangential: Any) -> Camera:
    shapes = ((3, 3), (3,), (2,), (2,), (2,), (3,), (2,))
    values = (rotation, position_m, focal, centre, size, radial, tangential)
    return Camera(*(torch.from_numpy(np.array(v, np.float64).reshape(s)) for v, s in zip(values, shapes, strict=True)))


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
            views: dict[str, View] = {}
            for i, camera_name in enumerate(CAMERA_NAMES):
                own = {k: _take(p, data, subject, name, i, len(world_m)) for k, (p, data) in keypoints.items()}
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


def _take(path: Path, data: dict[str, Any], subject: str, name: str, index: int, frames: int) -> np.ndarray:
    """One camera's keypoints (t, 17, 2); videos run on for some frames after the capture has ended."""
    views = _mapping(data.get(subject, {}), path, subject).get(name)
    if not isinstance(views, (list, tuple, np.ndarray)) or np.ndim(views) == 0 or len(views) != len(CAMERA_NAMES):
        raise BadInput(f"{path}: has no keypoints of four cameras for {subject} {name!r}, which data_3d_h36m.npz has")
    given = _numbers(views[index], f"{path}: {subject} {name!r}, camera {CAMERA_NAMES[index]}")
    if given.shape[1:] not in ((17, 2), (17, 3)) or len(given) < frames:
        raise BadInput(
            f"{path}: {subject} {name!r}, camera {CAMERA_NAMES[index]} has shape {given.shape}, expected "
            f"({frames} or more, 17, 2)"
        )
    return given[:frames]


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
        return _camera(rotation.T, place, focal, centre, size, radial, np.ravel(tangential)[::-1])
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
        if key == "joint_2d":
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
