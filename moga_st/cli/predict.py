"""`moga-st predict WEIGHTS CLIP`."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional

from moga_st.cli.collecting import bring_torch
from moga_st.cli.parsing import named, parse
from moga_st.errors import BadInput

if TYPE_CHECKING:
    from moga_st.data.video.clip import Clip
    from moga_st.infer.predict import Prediction, Predictor


@dataclass(frozen=True)
class Predict:
    """Predict the future of a clip, and draw input, truth, prediction and error as PNG, GIF and video."""

    weights: Annotated[Positional[Path], named("WEIGHTS")]
    """A .safetensors or exported .onnx file, a run's folder, or the name of weights in the package."""
    clip: Annotated[Positional[Path], named("CLIP")]
    """A video, GIF, folder of frames, .npy, .npz, HDF5, NetCDF or Zarr file, told by its content; or a folder of such
    files, which are predicted one after the other."""
    start: int = 0
    """Frame the input begins at."""
    from_end: bool = False
    """Take the clip's last frames as the input: predict what comes after it."""
    all: bool = False
    """Score the whole clip, window by window, and write no pictures."""
    frames: int | None = None
    """Frames to predict; default the model's own number, more by rolling out."""
    size: tuple[int, ...] | None = None
    """Side of a square, or height and width, that frames are resized to; default the clip's own size, large frames in
    overlapping tiles."""
    variables: tuple[str, ...] = ()
    """In files of several arrays, the names of those that are the clip."""
    runtime: Literal["onnxruntime", "openvino"] | None = None
    """What runs the network instead of torch, on the CPU: weights are exported for it in memory, an .onnx file of
    `moga-st export` is taken as it is."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda, cuda:N or mps."""
    out: Path = Path("predictions")
    """Folder for CLIP_predicted.png, .gif, .mp4 and .npy: the prediction (t, c, h, w) in the clip's type and unit."""
    cam: int | None = None
    """Draw what this predicted frame, counted from 1, came from: HiResCAM's heat on the input's frames, as
    CLIP_predicted_cam.png."""
    report: bool = False
    """Write CLIP_predicted.html too: one page that plays the clip with its prediction."""
    json: bool = False
    """Print paths and scores as JSON."""


def run(argv: list[str]) -> None:
    args = parse(Predict, "moga-st predict", argv)
    if args.size is not None and len(args.size) not in (1, 2):
        raise BadInput(f"--size: expected one number, or height and width, got {len(args.size)} numbers")
    if args.report and args.all:
        raise BadInput("--report: shows one prediction; leave --all out")
    if args.cam is not None and args.all:
        raise BadInput("--cam: is of one prediction; leave --all out")
    if args.from_end and (args.all or args.start):
        raise BadInput("--from-end: predicts what comes after the clip; leave --all and --start out")
    bring_torch()
    from moga_st.data.video.clips import open_clip
    from moga_st.device import setup
    from moga_st.infer.predict import Predictor
    from moga_st.storage import strict_json

    predictor = Predictor(args.weights, setup(args.device), args.runtime)
    results = []
    paths = _clips(args.clip)
    for path in paths:
        clip = open_clip(path, args.variables, channels=predictor.net.channels)
        alone = sum(p.stem == path.stem for p in paths) == 1  # else one would overwrite what the other wrote
        name = path.stem if alone else path.name
        result = _score_all(args, predictor, clip) if args.all else _predict_one(args, predictor, clip, name)
        results.append(result)
        if not args.json:
            print(_text(result))
    if args.json:
        print(strict_json(results[0] if len(results) == 1 else results, 2))


def _clips(path: Path) -> list[Path]:
    """The clip itself, or the clips in a folder that is not one clip of frames; whatever else lies there is none."""
    from moga_st.data.video.clips import open_clip
    from moga_st.data.video.prepare import clips_in

    found, refused = [], None
    for file in clips_in(path) if path.is_dir() else [path]:
        if file == path:
            return [path]
        try:
            open_clip(file)
            found.append(file)
        except BadInput as error:
            refused = error
    if not found:
        raise refused or BadInput(f"{path}: holds no clips")
    return found


def _size(args: Predict) -> tuple[int, int] | None:
    return None if args.size is None else (args.size[0], args.size[-1])


def _predict_one(args: Predict, predictor: Predictor, clip: Clip, name: str) -> dict[str, Any]:
    """Predict, draw, write; returns what to say of it."""
    start = max(0, clip.frames - predictor.net.frames_in) if args.from_end else args.start
    made = predictor.predict(clip, start, args.frames, _size(args))
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / f"{name}_predicted"  # whatever --out is, the clip itself is not written over
    paths = [*made.example(clip.path.name).save(stem), *_save_values(stem, made, clip)]
    if args.cam is not None:
        from moga_st.draw.video import save_heat

        title = f"{clip.path.name}: what predicted frame {args.cam} came from"
        paths += save_heat(stem.with_name(stem.name + "_cam"), made.past, predictor.came_from(made, args.cam), title)
    if args.report:
        paths.append(_page(stem, args, made, clip))
    return {
        "clip": str(clip.path),
        "start": made.start,
        "frames_in": len(made.past),
        "frames_predicted": len(made.frames),
        "frames_compared": len(made.truth),
        **made.scores,
        "copy_last": made.copy_last,
        "written": [str(p) for p in paths],
    }


def _page(stem: Path, args: Predict, made: Prediction, clip: Clip) -> Path:
    from moga_st.report.made import prediction_page

    rows = [
        ("weights", str(args.weights)),
        ("clip", str(clip.path)),
        ("input", f"frames {made.start + 1} to {made.start + len(made.past)} of {clip.frames}"),
        ("predicted", len(made.frames)),
        ("compared with the truth", len(made.truth)),
    ]
    page = prediction_page(made.example(clip.path.name), made.scores, rows, made.conventions, made.copy_last)
    return page.save(stem.with_name(stem.name + ".html"))


def _save_values(stem: Path, made: Prediction, clip: Clip) -> list[Path]:
    """The prediction as an array of the clip's type and unit, and, of images, as a video of its rate."""
    import numpy as np

    from moga_st.draw.video import save_video
    from moga_st.storage import save_npy

    values, array = made.values(), stem.with_name(stem.name + ".npy")
    stored_as_bytes = next(clip.read(0, 1)).dtype == np.uint8
    save_npy(array, (values * 255).round().astype(np.uint8) if stored_as_bytes else values)
    if made.spec.unit or values.shape[1] not in (1, 3):
        return [array]
    video = stem.with_name(stem.name + ".mp4")
    save_video(video, chain(made.past, values), clip.fps or 10.0)
    return [array, video]


def _score_all(args: Predict, predictor: Predictor, clip: Clip) -> dict[str, Any]:
    """Mean scores over all windows of a clip, one of them in memory at a time."""
    sums, copied = defaultdict[str, float](float), defaultdict[str, float](float)
    count = 0
    for window in predictor.windows(clip, args.frames, _size(args)):
        count += 1
        for name, value in window.scores.items():
            sums[name] += value
            copied[name] += window.copy_last[name]
    if not count:
        raise BadInput(f"{clip.path}: has {clip.frames} frames, too few for one window with its truth")
    means, copy_last = ({name: total / count for name, total in each.items()} for each in (sums, copied))
    return {"clip": str(clip.path), "windows": count, **means, "copy_last": copy_last}


def _text(result: dict[str, Any]) -> str:
    from moga_st.storage import escape

    if "windows" in result:
        head = f"{result['clip']}: {result['windows']} windows"
    else:
        counts = f"{result['frames_in']} frames in, {result['frames_predicted']} predicted"
        head = f"{result['clip']}: {counts}, {result['frames_compared']} compared with the truth"
    lines = [head]
    for name, scores in (("", result), ("copy last: ", result["copy_last"])):
        told = {k: v for k, v in scores.items() if isinstance(v, float) and math.isfinite(v) and k != "ssim_published"}
        lines += [name + "  ".join(f"{k} {v:.4g}" for k, v in told.items())] if told else []
    lines += [f"written: {', '.join(result['written'])}"] if "written" in result else []
    return "\n".join(map(escape, lines))
