"""Our prepared pose files as a data set of mmpose's.  Imported by :mod:`moga_st.integrations.mmpose`, not by hand.

Shape legend: ``n`` frames of all views one after the other, 17 joints.
"""
# pyright: reportMissingImports=false

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from mmpose.datasets.datasets import Human36mDataset
from mmpose.registry import DATASETS

from moga_st.data.pose.camera import Camera
from moga_st.data.pose.prepared_poses import GT, read_clips, read_contents
from moga_st.errors import BadInput


@DATASETS.register_module()
class MogaPreparedDataset(Human36mDataset):
    """A file of `moga-st data prepare` (CMU motion capture, Human3.6M) in the place of mmpose's Human36mDataset.

    Sequences, padding, codecs and the MPJPE metric work as they do there: each view of a clip is a video, its frames
    named ``{subject}_{action}_{clip number}.{camera}_{frame}.jpg`` (there are no images), poses are metres in the
    camera's space, keypoints pixels with a confidence (1 where the source has none).

    Args:
        ann_file: the prepared file, absolute or below ``data_root``.
        subjects: take these only.
        without_subjects: leave these out.
        keypoints: the 2D source: "gt", or a detector's name in the file.
        seq_len, seq_step, multiple_target, multiple_target_step, pad_video_seq, causal: as in Human36mDataset.
        base: mmengine's own arguments of every data set: data_root, pipeline, test_mode, indices, ...

    Raises:
        BadInput: see :func:`moga_st.data.pose.prepared_poses.read_clips`; no clip is left; or a window of frames is
            asked of clips whose frames are not evenly spaced.
    """

    def __init__(
        self,
        ann_file: str,
        subjects: Collection[str] | None = None,
        without_subjects: Collection[str] = (),
        keypoints: str = GT,
        seq_len: int = 1,
        seq_step: int = 1,
        multiple_target: int = 0,
        multiple_target_step: int = 0,
        pad_video_seq: bool = False,
        causal: bool = True,
        **base: Any,
    ):
        self.subjects, self.without_subjects, self.keypoints = subjects, without_subjects, keypoints
        self.window = max(seq_len, multiple_target)
        super().__init__(
            ann_file=ann_file,
            seq_len=seq_len,
            seq_step=seq_step,
            multiple_target=multiple_target,
            multiple_target_step=multiple_target_step,
            pad_video_seq=pad_video_seq,
            causal=causal,
            **base,
        )

    def _load_ann_file(self, ann_file: str) -> None:
        path = Path(ann_file)
        clips = read_contents(path).clips
        number = {clip.name: i for i, clip in enumerate(clips)}
        wanted = set(self.subjects or (clip.subject for clip in clips))
        if not wanted - set(self.without_subjects):
            raise BadInput(f"{path}: no subject is left of {', '.join(sorted(wanted))}")
        # read_clips names the subjects that the file does not have, also those to be left out
        names, poses, points, self.camera_param = [], [], [], {}
        for clip in read_clips(path, wanted | set(self.without_subjects)):
            if clip.subject in self.without_subjects:
                continue
            if self.window > 1 and not clip.evenly_spaced:
                raise BadInput(f"clip {clip.name}: its frames are not evenly spaced, so seq_len must be 1")
            for view, about in clip.views.items():
                take = f"{_plain(clip.subject)}_{_plain(clip.action)}_{number[clip.name]}.{_plain(view)}"
                names += [f"{take}_{frame:06d}.jpg" for frame in range(len(clip))]
                poses.append(_with_ones(clip.camera_m(view), 4))
                points.append(_with_ones(clip.keypoints(view, self.keypoints), 3))
                self.camera_param[self._parse_h36m_imgname(names[-1])] = _camera_param(about.camera)
        self.ann_data = {"imgname": np.array(names), "S": np.concatenate(poses), "part": np.concatenate(points)}

    def _load_annotations(self) -> tuple[list[dict], list[dict]]:
        instances, images = super()._load_annotations()
        for instance in instances:
            instance["camera_param"] = self.get_camera_param(instance["img_paths"][0])
        return instances, images

    def get_camera_param(self, imgname: str) -> dict[str, Any]:
        """The camera of a frame, as mmpose's cameras.pkl has them."""
        return self.camera_param[self._parse_h36m_imgname(imgname)]


def _plain(name: str) -> str:
    """A name without the characters that mmpose splits at."""
    return re.sub(r"[^0-9A-Za-z-]+", "-", name)


def _with_ones(points: np.ndarray, channels: int) -> np.ndarray:
    """(n, 17, c) -> (n, 17, channels); what is missing is 1: visible, confident."""
    missing = channels - points.shape[-1]
    return np.concatenate([points, np.ones((*points.shape[:2], missing), np.float32)], -1) if missing else points


def _camera_param(camera: Camera) -> dict[str, Any]:
    def column(x: Any) -> np.ndarray:
        return x.double().numpy().reshape(-1, 1)

    width, height = (int(v) for v in camera.size_px)
    out = {"R": camera.rotation.mT.double().numpy(), "T": column(camera.position_m), "w": width, "h": height}
    out |= {"f": column(camera.focal_px), "c": column(camera.centre_px)}
    # a lens without distortion is one of zeros; p is (along y, along x), as in Human3.6M's own file
    out["k"] = np.zeros((3, 1)) if camera.radial is None else column(camera.radial)
    out["p"] = np.zeros((2, 1)) if camera.tangential is None else column(camera.tangential)[::-1].copy()
    return out
