"""People's 2D keypoints in the frames of a video, by mmpose's 2D inferencer and any of its 2D configs, of ours too.
mmpose is the extra ``moga-st[mmpose]``; it is imported by :class:`PeopleFinder`, not before.

Shape legend: ``n`` people, ``j`` joints of the network's layout; a frame is (h, w, 3), uint8 RGB.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import sys
import urllib.parse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moga_st.errors import BadInput, nearest
from moga_st.integrations.mmpose_import import importing, mmcv_ops
from moga_st.storage import read_torch, strangers_in

WHOLE_IMAGE = "whole-image"
_LOG = "mmengine.logging.history_buffer.HistoryBuffer"  # in its Runner's checkpoints, beside the weights


class PeopleFinder:
    """mmpose's 2D inferencer with its weights: frame (h, w, 3) -> people (n, j, 3): x, y in pixels and confidence.

    Args:
        pose2d: one of mmpose's 2D configs by name or alias, or a config file.
        pose2d_weights: its checkpoint; by default the one that mmpose publishes for the config.
        detector: where a top-down network finds the boxes of people: one of mmdet's configs by name, or a config
            file; by default mmpose's own person detector.  "whole-image" takes the frame as the box of one person.
        detector_weights: its checkpoint; by default the published one.

    Published weights are looked for among torch hub's checkpoints and downloaded to there.

    Raises:
        BadInput: no mmpose, no such config, one that mmpose cannot build, a layout that cannot be converted, or weights
            that cannot be had, cannot be read safely or are another network's.
    """

    name = "mmpose"
    layout: str  # "h36m", "coco" or "halpe", as `read_keypoints` takes it

    def __init__(
        self,
        device: torch.device,
        pose2d: str = "human",
        pose2d_weights: Path | None = None,
        detector: str | None = None,
        detector_weights: Path | None = None,
    ):
        inferencer, default_detectors = _import_mmpose()
        config, url = _find_config("mmpose", pose2d, "pose2d")
        weights = _find_weights(pose2d_weights, url, pose2d, "pose2d_weights")
        tensors = _tensors(weights)
        options: dict[str, Any] = {"det_model": WHOLE_IMAGE}
        boxes, box_tensors = None, {}
        if config.get("data_mode", "topdown") == "topdown" and detector != WHOLE_IMAGE:
            name = detector or default_detectors["human"]["model"]
            found, det_url = _find_config("mmdet", name, "detector")
            if detector is None:
                det_url = default_detectors["human"]["weights"]
            try:
                boxes = _find_weights(detector_weights, det_url, name, "detector_weights")
            except BadInput as error:
                otherwise = f'or take the whole image as the box, which is the detector "{WHOLE_IMAGE}"'
                raise BadInput(f"{error.message}; {otherwise}", argument=error.argument) from error
            box_tensors = _tensors(boxes)
            # mmpose takes a config's file here and no config
            options = {"det_model": found.filename, "det_weights": str(boxes), "det_cat_ids": (0,)}
        with _quiet():
            try:
                self._inferencer = inferencer(config, str(weights), device=str(device), **options)
            except Exception as error:  # whatever the classes that a config names raise
                configs = " or ".join([pose2d, *([options["det_model"]] if boxes else [])])
                files = " or ".join(str(f) for f in (weights, boxes) if f)
                raise BadInput(
                    f"{configs}: mmpose cannot build it or load {files} into it ({type(error).__name__}: {error})"
                ) from error
            _check_loaded(self._inferencer.model, tensors, weights)
            self._detects = boxes is not None
            if boxes is not None:
                _check_loaded(self._inferencer.detector.model, box_tensors, boxes)
        self.layout = _layout(pose2d, self._inferencer.model.dataset_meta)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        bgr = np.ascontiguousarray(frame[..., ::-1])
        try:
            with _quiet():
                answer = next(iter(self._inferencer(bgr, return_datasamples=True)))
        except (ImportError, NotImplementedError) as error:  # an operator of the detector
            raise BadInput(f"{error}; choose another, such as RTMDet or YOLOX", argument="detector") from error
        people = answer["predictions"][0].pred_instances
        points = np.concatenate([people.keypoints[..., :2], people.keypoint_scores[..., None]], axis=-1)
        if self._detects:
            # where the detector finds nobody, mmpose takes the whole image with a score of 1: a person who is not there
            whole = (people.bboxes == (0, 0, frame.shape[1], frame.shape[0])).all(-1) & (people.bbox_scores == 1)
            points = points[~whole]
        return points.astype(np.float64)


def _import_mmpose() -> tuple[Any, dict[str, dict[str, Any]]]:
    """The inferencer's class and mmpose's default detectors by what they detect."""
    otherwise = (
        ". Without it, give the 2D keypoints that another program found, a file of COCO, OpenPose, AlphaPose or "
        "mmpose, and the video beside it"
    )
    with importing("finding people in a video", otherwise), _quiet(), mmcv_ops():
        for name in ("mmpose", "mmdet.models", "mmdet.apis"):
            importlib.import_module(name)
        apis = importlib.import_module("mmpose.apis")
        detectors = importlib.import_module("mmpose.apis.inferencers.utils").default_det_models
    importlib.import_module("moga_st.integrations.mmpose").register()
    return apis.Pose2DInferencer, detectors


def _find_config(scope: str, name: str, argument: str) -> tuple[Any, str | None]:
    """A config by file, name or alias, and the address of the weights published for it."""
    config_class = importlib.import_module("mmengine.config").Config
    if Path(name).is_file():
        try:
            return config_class.fromfile(name), None
        except Exception as error:  # a config is a program
            raise BadInput(f"{name}: cannot be read as a config ({type(error).__name__}: {error})") from error
    base: Any = importlib.import_module("mmengine.infer").BaseInferencer
    folder = base._get_repo_or_mim_dir(scope)
    known: dict[str, dict[str, Any]] = {}
    for model in base._get_models_from_metafile(folder):
        alias = model.get("Alias", [])
        for key in (model["Name"], *([alias] if isinstance(alias, str) else alias)):
            known.setdefault(key.lower(), model)
    model = known.get(name.lower())
    if model is None:
        known_as = f"{scope} has no config of this name{nearest(name, known)}"
        raise BadInput(f"{name}: no such file, and {known_as}", argument=argument)
    weights = model.get("Weights")
    return config_class.fromfile(Path(folder) / model["Config"]), weights[0] if isinstance(weights, list) else weights


def _find_weights(given: Path | None, url: str | None, config: str, argument: str) -> Path:
    """The file given, or the published one, downloaded unless it is there."""
    if given is not None:
        if not given.is_file():
            raise BadInput(f"{given}: no such file; expected the checkpoint (.pth) of {config}", argument=argument)
        return given
    if url is None:
        raise BadInput(f"no published weights are known for {config}; give its checkpoint (.pth)", argument=argument)
    # mmengine downloads to the same place, but then loads without torch's guard
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urllib.parse.urlparse(url).path).name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path))
        except OSError as error:
            raise BadInput(
                f"{url} cannot be downloaded ({error}); put that file at {path}, or give it", argument=argument
            ) from error
    return path


def _tensors(path: Path) -> dict[str, Any]:
    """The weights in a checkpoint by name."""
    content: Any = read_torch(path, strangers=True)
    for stranger in strangers_in(content):
        if stranger.name != _LOG:
            raise BadInput(
                f"{path}: its pickle asks for {stranger.name}, which is no plain data; do not trust this file"
            )
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(k, str) for k in state):
        raise BadInput(f"{path}: holds no weights by name; give a checkpoint (.pth) of mmpose or mmdet")
    found = {k.removeprefix("module."): v for k, v in state.items()}
    if len(found) < len(state):
        raise BadInput(f"{path}: has weights of the same name, with and without `module.`; one of them is not meant")
    return found


def _check_loaded(net: torch.nn.Module, tensors: dict[str, Any], path: Path) -> None:
    """mmengine only prints which weights are missing or of another shape, and leaves them random."""
    wrong = [
        name
        for name, own in net.state_dict().items()
        if getattr(tensors.get(name), "shape", None) != own.shape and not name.endswith("num_batches_tracked")
    ]
    if wrong:
        raise BadInput(
            f"{path}: the weights of another network: {len(wrong)} of the config's are missing or of another shape, "
            f"first {wrong[0]}"
        )


def _layout(config: str, meta: dict[str, Any]) -> str:
    """By the names of the keypoints: other 17 joints may be an animal's."""
    names = [name for _, name in sorted(meta["keypoint_id2name"].items())]
    if names[:1] == ["root"] and len(names) == 17 and names[7:9] == ["spine", "thorax"]:
        return "h36m"
    if names[:1] == ["nose"] and names[16:17] == ["right_ankle"]:
        if len(names) in (17, 133):
            return "coco"
        if len(names) == 26:
            return "halpe"
    raise BadInput(
        f"{config}: finds {len(names)} keypoints ({', '.join(names[:4])}, ...), which cannot be lifted; choose a "
        "config for COCO, COCO-WholeBody, Halpe-26 or Human3.6M"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What mmengine prints goes to stderr, since stdout may be read by a program, and only if it is an error."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
