"""npz files: ``keypoints`` of our own, what ``lift`` wrote, VideoPose3D's two kinds, and MHFormer's ``reconstruction``.

- ``keypoints`` (t, j, 2 or 3), and optionally ``size_px`` (w, h), ``fps``, ``layout``, ``joint_names``.
- ``lift``'s output: ``keypoints_px``, Human3.6M-17.
- VideoPose3D, ``positions_2d`` {clip: {action: [(t, j, 2) a camera]}} and ``metadata``.
- VideoPose3D's detections: ``keypoints`` (t,) of [.., class 1: (people, 4, j)] with rows x, y, logit, probability.
- ``reconstruction`` (people, t, 17, 2), Human3.6M-17, from the demos of MHFormer and its kin.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from moga_st.data.pose.keypoints.content import Content, Detection, said_of, size_of, with_confidence
from moga_st.data.pose.skeleton import COCO17, H36M17
from moga_st.errors import BadInput
from moga_st.storage import Npz, open_npz

DETECTRON_SEEN = 0.05  # Detectron draws a joint from this probability on, of a heat map over the whole box
USUALLY_SEEN = 0.3  # what other detectors' joints are drawn from: the default threshold of read_keypoints


def read_npz(path: Path, clip: str | None = None) -> Content:
    """
    Raises:
        BadInput: no npz, none of these kinds, or several clips of which ``clip`` names none.
    """
    with open_npz(path) as file:
        if "positions_2d" in file:
            return _videopose3d(file, clip)
        if "reconstruction" in file:
            return _reconstruction(file)
        if "keypoints_px" in file and "keypoints" not in file:
            return _lifted(file)
        if "keypoints" not in file:
            raise BadInput(
                f"{path}: has no array 'keypoints' (t, j, 2 or 3), nor VideoPose3D's positions_2d; it has "
                f"{', '.join(file.names) or 'nothing'}"
            )
        if "boxes" in file and file.header("keypoints").dtype is None:
            return _detectron(file)
        points = file.array("keypoints")
        if points.ndim != 3 or points.shape[2] not in (2, 3) or not np.issubdtype(points.dtype, np.number):
            raise BadInput(
                f"{path}: keypoints must be numbers of shape (t, j, 2 or 3), got {points.dtype} {points.shape}; "
                "for several people write one file each"
            )
        joints = [str(n) for n in np.ravel(file.array("joint_names"))] if "joint_names" in file else []
        return _people("npz", [(0, points)], names=dict(enumerate(joints)), **said_of(_words(file)))


def _words(file: Npz) -> dict[str, Any]:
    return {name: file.array(name) for name in ("size_px", "fps", "layout") if name in file}


def _reconstruction(file: Npz) -> Content:
    poses = file.array("reconstruction")
    if poses.ndim != 4 or poses.shape[3] not in (2, 3):
        raise BadInput(f"{file.path}: reconstruction must be (people, t, j, 2), got {poses.shape}")
    people = [(k if len(poses) > 1 else None, person) for k, person in enumerate(poses)]
    return _people("MHFormer", people, layout="h36m" if poses.shape[2] == 17 else None)


def _people(kind: str, people: list[tuple[int | None, np.ndarray]], **said: Any) -> Content:
    found = [
        Detection(i, with_confidence(points), k)
        for k, person in people
        for i, points in enumerate(np.asarray(person, np.float64))
    ]
    return Content(kind, found, {d.frame for d in found}, **said)


def _lifted(file: Npz) -> Content:
    points = file.array("keypoints_px").astype(np.float64)
    frames = np.ravel(file.array("frame")) if "frame" in file else np.arange(len(points))
    if points.ndim != 3 or points.shape[1:] != (17, 3) or len(frames) != len(points):
        raise BadInput(f"{file.path}: keypoints_px must be (t, 17, 3) with a frame number each, got {points.shape}")
    step = int(frames[1] - frames[0]) if len(frames) > 1 else 1
    said = said_of(_words(file))
    if "fps" in said and step > 1:
        said["fps"] *= step  # of the numbering, as of any file
    person = int(file.array("person")) if "person" in file else 0
    found = [Detection(int(n), with_confidence(p), person) for n, p in zip(frames, points, strict=True)]
    return Content("lift's output", found, {d.frame for d in found}, layout="h36m", **said)


def _detectron(file: Npz) -> Content:
    frames = file.value("keypoints")
    try:
        found = []
        for i, classes in enumerate(frames):
            people = classes[1] if len(classes) > 1 else []
            for person in people:
                x, y, _, probability = np.asarray(person, np.float64)
                sure = np.clip(probability * (USUALLY_SEEN / DETECTRON_SEEN), 0.0, 1.0)
                found.append(Detection(i, with_confidence(np.column_stack([x, y, sure])), None))
        meta = (file.value("metadata") if "metadata" in file else None) or {}
        size = size_of((meta["w"], meta["h"])) if {"w", "h"} <= set(meta) else None
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise BadInput(f"{file.path}: not VideoPose3D's detections ({type(error).__name__}: {error})") from error
    listed = set(range(len(frames)))
    return Content("Detectron (VideoPose3D)", found, listed, usual=(COCO17,), size_px=size)


def _videopose3d(file: Npz, clip: str | None) -> Content:
    path, positions = file.path, file.value("positions_2d")
    meta = (file.value("metadata") if "metadata" in file else None) or {}
    try:
        clips = {
            "/".join((str(subject), str(action), *([str(k)] if len(cameras) > 1 else []))): (str(subject), camera)
            for subject, actions in positions.items()
            for action, cameras in actions.items()
            for k, camera in enumerate(cameras)
        }
        chosen = _chosen(path, clips, clip)
        subject, points = clips[chosen]
        points = np.asarray(points, np.float64)
        size = (meta.get("video_metadata") or {}).get(subject) or {}
        size_px = size_of((size["w"], size["h"])) if {"w", "h"} <= set(size) else None
    except BadInput:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadInput(f"{path}: not VideoPose3D's 2D keypoints ({type(error).__name__}: {error})") from error
    if points.ndim != 3 or points.shape[2] not in (2, 3):
        raise BadInput(f"{path}: clip {chosen} must be (t, j, 2), got {points.shape}")
    layout = meta.get("layout_name")
    return _people(
        "VideoPose3D",
        [(None, points)],
        layout=str(layout) if layout in ("coco", "h36m") else None,
        usual=(COCO17, H36M17),
        size_px=size_px,
        notes=(f"clip {chosen}",) if len(clips) > 1 else (),
    )


def _chosen(path: Path, clips: dict[str, Any], clip: str | None) -> str:
    fitting = [name for name in clips if clip is None or name == clip or name.startswith(f"{clip}/")]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(list(clips)[:8]) + (", ..." if len(clips) > 8 else "")
    if clip is None:
        raise BadInput(f"{path}: holds {len(clips)} clips, say which with `clip`: {listed}")
    raise BadInput(f"{path}: {'no clip' if not fitting else 'several clips'} {clip!r}; it holds {listed}")
