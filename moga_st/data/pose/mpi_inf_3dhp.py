"""MPI-INF-3DHP (Mehta et al. 2017, vcai.mpi-inf.mpg.de/3dhp-dataset) as prepared poses, from its own files.

- training: ``S1/Seq1/annot.mat`` (MATLAB 5: cells annot2, annot3 by camera, 28 joints, pixels and millimetres in the
  camera's space) and ``S1/Seq1/camera.calibration`` beside it;
- test: ``TS1/annot_data.mat`` (MATLAB 7.3, which is HDF5: annot2, annot3, valid_frame; 17 joints).  It names no lens,
  so the pinhole is solved from the points and their images, which are exact.

A training sequence is a clip of up to 14 views.  Test clips have one camera and no place in the world.

Shape legend: ``t`` frames, ``c`` cameras, 28 or 17 joints of the data set, 17 of Human3.6M.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat

from moga_st import storage
from moga_st.data.pose.camera import Camera, camera_to_world
from moga_st.data.pose.own_motion import check_person
from moga_st.data.pose.prepared_poses import GT, MotionClip, View, write_poses
from moga_st.errors import BadInput

LICENCE = (
    "MPI-INF-3DHP: for scientific use under its own licence (vcai.mpi-inf.mpg.de/3dhp-dataset); not to be passed on. "
    "Cite Mehta et al., 3DV 2017."
)
TRAIN_JOINTS = (4, 23, 24, 25, 18, 19, 20, 3, 5, 6, 7, 9, 10, 11, 14, 15, 16)
"""Which of the 28 training joints the 17 of Human3.6M are."""
TEST_JOINTS = (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)
"""Which of the 17 test joints they are."""
FAST = frozenset({("S1", "Seq2"), ("S3", "Seq1"), ("S3", "Seq2"), ("S5", "Seq1"), ("S5", "Seq2")})
"""The training sequences at 50 frames a second; the others, and the test set, have 25."""
Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # the calibration's world has y up


def prepare(src: Path, out: Path) -> None:
    """Write the prepared file from the data set's folder, or from any part of it: one subject, one sequence, some
    cameras, the test set alone.

    Raises:
        BadInput: nothing to read at ``src``, or a file that is not as expected; the message names it.
    """
    train = sorted(src.rglob("annot.mat"))
    test = sorted(src.rglob("annot_data.mat"))
    if not train and not test:
        raise BadInput(f"{src}: holds neither SN/SeqM/annot.mat nor TSN/annot_data.mat; name MPI-INF-3DHP's folder")
    write_poses(out, _clips(train, test), "MPI-INF-3DHP", LICENCE)


def read_calibration(path: Path) -> dict[int, Camera]:
    """The cameras of a ``camera.calibration`` by number, float64, in the world with z up, metres.

    Raises:
        BadInput: unreadable, or a camera without size, intrinsic and extrinsic.
    """
    cameras: dict[int, Camera] = {}
    for block in re.split(r"^name\s+", storage.read_text(path), flags=re.MULTILINE)[1:]:
        lines = [line.split() for line in block.splitlines()]
        fields = {words[0]: words[1:] for words in lines[1:] if words}
        try:
            number = int(lines[0][0])
            size = np.array(fields["size"], np.float64)
            inner = np.array(fields["intrinsic"], np.float64).reshape(4, 4)
            outer = np.array(fields["extrinsic"], np.float64).reshape(4, 4)
        except (KeyError, ValueError, IndexError) as error:
            raise BadInput(f"{path}: a camera without number, size, intrinsic or extrinsic ({error})") from error
        rotation, place = outer[:3, :3], -outer[:3, :3].T @ outer[:3, 3] / 1000
        lens = (inner[[0, 1], [0, 1]].copy(), inner[:2, 2].copy(), size)
        try:
            cameras[number] = Camera(*map(torch.from_numpy, (rotation @ Z_UP.T, Z_UP @ place, *lens)))
        except (BadInput, ValueError, RuntimeError) as error:
            raise BadInput(f"{path}: camera {number}: {error}") from error
    if not cameras:
        raise BadInput(f"{path}: holds no camera; expected a Skeletool camera calibration file")
    return cameras


def solve_lens(camera_m: np.ndarray, image_px: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Focal length (2,) and principal point (2,) of the pinhole by which points (n, 3) have images (n, 2), by least
    squares, and the root mean square error in pixels."""
    focal, centre, error = np.zeros(2), np.zeros(2), 0.0
    for axis in range(2):
        rows = np.stack([camera_m[:, axis] / camera_m[:, 2], np.ones(len(camera_m))], axis=1)
        (focal[axis], centre[axis]), *_ = np.linalg.lstsq(rows, image_px[:, axis], rcond=None)
        error += float(((rows @ (focal[axis], centre[axis]) - image_px[:, axis]) ** 2).mean())
    return focal, centre, error**0.5


def _clips(train: list[Path], test: list[Path]) -> Iterator[MotionClip]:
    for path in train:
        yield _training_clip(path)
    for path in test:
        yield from _test_clips(path)


def _training_clip(path: Path) -> MotionClip:
    sequence, subject = path.parent.name, path.parent.parent.name
    cameras = read_calibration(path.parent / "camera.calibration")
    try:
        content = loadmat(io.BytesIO(storage.read_bytes(path)), variable_names=["annot2", "annot3", "cameras"])
        cells = {name: list(content[name].ravel()) for name in ("annot2", "annot3")}
        numbers = (
            content["cameras"].ravel().astype(int).tolist() if "cameras" in content else range(len(cells["annot3"]))
        )
    except Exception as error:  # whatever scipy raises for damage
        raise BadInput(
            f"{path}: cannot be read as MPI-INF-3DHP's annot.mat ({type(error).__name__}: {error})"
        ) from error
    views: dict[str, View] = {}
    world: np.ndarray | None = None
    for number, flat, flat_px in zip(numbers, cells["annot3"], cells["annot2"], strict=False):
        if not flat.size:
            continue  # a camera whose part was left out
        if number not in cameras:
            raise BadInput(f"{path}: camera {number} is not in {path.parent / 'camera.calibration'}")
        if flat.ndim != 2 or flat.shape[1] != 84 or flat_px.shape != (len(flat), 56):
            raise BadInput(
                f"{path}: camera {number} has shapes {flat.shape} and {flat_px.shape}, expected (t, 84), (t, 56)"
            )
        points = flat.astype(np.float64).reshape(-1, 28, 3)[:, TRAIN_JOINTS] / 1000
        pixels = flat_px.astype(np.float64).reshape(-1, 28, 2)[:, TRAIN_JOINTS]
        if world is None:
            world = camera_to_world(torch.from_numpy(points), cameras[number]).numpy()
        views[f"camera{number}"] = View(cameras[number], points.astype(np.float32), {GT: pixels.astype(np.float32)})
    if world is None:
        raise BadInput(f"{path}: holds no camera's poses")
    name = f"{subject}/{sequence}"
    _check(path, name, world)
    fps = 50.0 if (subject, sequence) in FAST else 25.0
    return MotionClip(name, subject, sequence, fps, world.astype(np.float32), views)


def _test_clips(path: Path) -> Iterator[MotionClip]:
    subject = path.parent.name
    with storage.open_hdf5(path) as file:
        missing = [name for name in ("annot2", "annot3", "valid_frame") if name not in file]
        if missing:
            raise BadInput(f"{path}: has no {', '.join(missing)}; expected MPI-INF-3DHP's annot_data.mat")
        points, pixels, valid = (np.asarray(file[name][()], np.float64) for name in ("annot3", "annot2", "valid_frame"))
    if points.shape[1:] != (1, 17, 3) and points.ndim == 4:  # MATLAB's order is the other way round
        points, pixels = points.transpose(), pixels.transpose()
    t = len(points)
    if points.shape != (t, 1, 17, 3) or pixels.shape != (t, 1, 17, 2) or valid.size != t:
        raise BadInput(
            f"{path}: annot3 has shape {points.shape}, expected (frames, 1, 17, 3), and annot2 the same with 2"
        )
    keep = np.flatnonzero(valid.ravel() > 0)
    camera_m, image = points[keep, 0][:, TEST_JOINTS] / 1000, pixels[keep, 0][:, TEST_JOINTS]
    if not len(keep) or not (camera_m[..., 2] > 0).all():
        raise BadInput(f"{path}: no valid frame, or people behind the camera")
    focal, centre, error = solve_lens(camera_m.reshape(-1, 3), image.reshape(-1, 2))
    if error > 5:
        raise BadInput(f"{path}: annot2 is not the image of annot3 by any pinhole ({error:.0f} px off)")
    size = (1920.0, 1080.0) if subject in ("TS5", "TS6") else (2048.0, 2048.0)
    numbers = [torch.tensor(v, dtype=torch.float64) for v in (focal.tolist(), centre.tolist(), size)]
    camera = Camera(torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), *numbers)
    view = View(camera, camera_m.astype(np.float32), {GT: image.astype(np.float32)})
    _check(path, subject, camera_m[..., [0, 2, 1]] * (1, 1, -1))
    yield MotionClip(f"{subject}/test", subject, "test", 25.0, None, {"camera0": view}, keep)


def _check(path: Path, name: str, z_up_m: np.ndarray) -> None:
    try:
        check_person(name, z_up_m)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
