"""``moga-st``: thin verbs over the package.

Exit codes: 0 done; 1 the run failed (loss not finite, disk full); 2 bad input; 128 + n stopped by signal n
after saving.  Errors go to stderr in one line that names the thing and the remedy.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar

import tyro
from tyro.conf import Positional

from moga_st.config import data_root
from moga_st.data.pose.smoothing import OneEuro
from moga_st.errors import BadInput, nearest

if TYPE_CHECKING:
    import torch

    from moga_st.config import ModelConfig
    from moga_st.data.pose.keypoints import Keypoints
    from moga_st.data.video.clips import Video
    from moga_st.engine import RunConfig

T = TypeVar("T")

USAGE = """\
usage: moga-st VERB ...

  train RECIPE         train a recipe, or go on with it; every field of it is a flag
  eval RUN_OR_WEIGHTS  score a run or a weights file on the test set, and draw examples
  predict WEIGHTS CLIP predict a clip's future (.npy, .gif, .mp4) and draw it
  lift WEIGHTS SOURCE  lift a person in a video, or their 2D keypoints, to 3D; write npz, BVH and an animation
  data RECIPE          find and check a recipe's data; export sequences
  data prepare NAME SRC
                       turn downloaded motion data (cmu-mocap, human3.6m) into the file that recipes read
  models               list every model with parameters and operations
  bench RECIPE         time its training step (every field is a flag), inference and data; or a network of
                       `models`; or kernels
  convert --from DIALECT IN OUT
                       turn a published checkpoint into weights of this package

`moga-st VERB --help` tells the rest.  Recipes: {recipes}
"""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one verb and leave with its exit code."""
    # before torch comes in: large tensors on the CPU lie in huge pages, which cost fewer faults and look-ups
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    argv = sys.argv[1:] if argv is None else argv
    verbs = {
        "train": train,
        "eval": evaluate,
        "predict": predict,
        "lift": lift,
        "data": data,
        "models": models,
        "bench": bench,
        "convert": convert,
    }
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE.format(recipes=", ".join(_recipe_names())))
        raise SystemExit(0 if argv else 2)
    if argv[0] == "--version":
        from moga_st import __version__

        print(__version__)
        raise SystemExit(0)
    try:
        if argv[0] not in verbs:
            raise BadInput(f"unknown verb {argv[0]!r}{nearest(argv[0], verbs)}; `moga-st --help` lists them")
        verbs[argv[0]](argv[1:])
    except BadInput as error:
        _leave(2, error)
    except KeyboardInterrupt:
        _leave(130, "interrupted")
    except OSError as error:  # no place to write, or no right to
        _leave(1, error)
    except Exception as error:
        from moga_st.engine import Interrupted, RunFailed

        if isinstance(error, RunFailed):
            _leave(1, error)
        if isinstance(error, Interrupted):
            _leave(128 + error.signum, f"{error}; all is saved, the same command goes on from here")
        raise
    raise SystemExit(0)


def train(argv: list[str]) -> None:
    """`moga-st train RECIPE [FLAGS]`."""
    recipe, rest = _recipe_argument("train", argv)
    from moga_st import dist, engine

    config, runtime = _with_recipe("train", recipe, engine.Runtime(), rest)
    try:
        folder = engine.train(config, runtime)
        if dist.rank() == 0:
            print(folder)
    finally:
        dist.shutdown()


def _with_recipe(verb: str, recipe: str, default: T, argv: list[str]) -> tuple[RunConfig, T]:
    """The recipe's config and ``default``, with what the flags change in either."""
    from moga_st import engine, recipes

    unprefixed = tyro.conf.arg(name="")
    fields = [("config", Annotated[engine.RunConfig, unprefixed]), ("other", Annotated[type(default), unprefixed])]
    both = dataclasses.make_dataclass("Both", fields)
    given = tyro.cli(
        both,
        prog=f"moga-st {verb} {recipe}",
        description=_docstring(recipe),
        default=both(recipes.load(recipe), default),
        args=argv,
    )
    return given.config, given.other


@dataclass(frozen=True)
class Eval:
    """Score weights on the test set beside its baseline, print the table, write eval.json and pictures."""

    target: Positional[Path]
    """A run's folder (its best weights are taken), a .safetensors file, or the name of weights in the package."""
    recipe: str | None = None
    """Score on this recipe's task instead of the one the weights were trained on."""
    split: Literal["test", "val"] = "test"
    """Which sequences."""
    sequences: int | None = None
    """Score only so many of them (the first)."""
    lpips: bool = False
    """Score LPIPS too, on the test set (needs torchvision's AlexNet weights)."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda or cuda:N."""
    data_root: Path | None = None
    """Folder that holds the data; default MOGA_ST_DATA, then datasets/ of the checkout."""
    out: Path | None = None
    """Folder for eval.json and the pictures; default beside the weights (here, for the package's own)."""
    json: bool = False
    """Print the JSON instead of the table."""


def evaluate(argv: list[str]) -> None:
    """`moga-st eval RUN_OR_WEIGHTS`."""
    args = tyro.cli(Eval, prog="moga-st eval", args=argv)
    from moga_st import dist, pretrained, recipes, record, storage
    from moga_st.device import setup
    from moga_st.tasks.task import Setting

    if args.lpips and args.split != "test":
        raise BadInput("--lpips: is scored on the test set only; leave --split out")
    path = pretrained.find_weights(args.target)
    if args.recipe is not None:
        recipes.load(args.recipe)  # it may define the model's class
    about = pretrained.read_weights(path).about
    task_config = _run_config(path, about, args.recipe).task
    changes: dict[str, Any] = {"lpips": True} if args.lpips else {}
    if args.sequences is not None:
        changes[f"{args.split}_sequences"] = args.sequences
    for name in changes:
        if name not in {f.name for f in dataclasses.fields(task_config)}:
            raise BadInput(f"--{name.partition('_')[2] or name}: {type(task_config).__name__} has no {name}")
    device = setup(args.device)
    try:
        task = dataclasses.replace(task_config, **changes).build(Setting(device, data_root(args.data_root)))
        net = pretrained.load_model(path, device)
        scores = task.evaluate(net, args.split)
        rank, made_by = dist.rank(), record.provenance(device)
    finally:
        dist.shutdown()
    if rank != 0:
        return
    # a partial evaluation does not take the place of the whole one
    part = ("" if args.split == "test" else "_val") + ("" if args.sequences is None else f"_first{args.sequences}")
    beside = Path() if path.parent == pretrained.SHIPPED else path.parent
    out = args.out or beside / ("eval" + part if args.target.is_dir() else path.stem + part)
    out.mkdir(parents=True, exist_ok=True)
    pictures = task.draw(net, out, args.split)  # by one process alone
    record = {
        "weights": path.stem if path.parent == pretrained.SHIPPED else str(path),
        "trained": {k: about[k] for k in ("run", "best_step", "seconds", "made_by", "converted_from") if k in about},
        "split": args.split,
        "scores": {k: v if math.isfinite(v) else None for k, v in scores.items()},
        "facts": task.facts,
        "argv": ["moga-st", "eval", *argv],
        "made_by": made_by,
        "pictures": [p.name for p in pictures],
    }
    text = json.dumps(record, indent=2)
    storage.write_atomically(out / "eval.json", lambda part: part.write_text(text))
    if args.json:
        print(text)
    else:
        print(f"{path}\n{_facts(task.facts)}\n\n{args.split}\n{_score_table(scores)}")
        print(f"\nwritten: {out}/eval.json, {', '.join(p.name for p in pictures)}")


@dataclass(frozen=True)
class Predict:
    """Predict the future of a clip, and draw input, truth, prediction and error as PNG and GIF."""

    weights: Positional[Path]
    """A .safetensors file, a run's folder, or the name of weights in the package."""
    clip: Positional[Path]
    """.npy (t, h, w), (t, c, h, w) or (t, h, w, c), uint8 or floats in [0, 1]; .gif; .mp4 and other video."""
    start: int = 0
    """Frame the input begins at."""
    frames: int | None = None
    """Frames to predict; default the model's own number, more by rolling out."""
    size: int | None = None
    """Side of the square that frames are resized to; default the size the model was trained on."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda or cuda:N."""
    out: Path = Path("predictions")
    """Folder for CLIP_predicted.png, .gif and .npy (the prediction, float32 (t, c, h, w))."""
    json: bool = False
    """Print paths and scores as JSON."""


def predict(argv: list[str]) -> None:
    """`moga-st predict WEIGHTS CLIP`."""
    args = tyro.cli(Predict, prog="moga-st predict", args=argv)
    import numpy as np
    import torch

    from moga_st import pretrained
    from moga_st.data.video.clips import read_clip
    from moga_st.device import setup
    from moga_st.draw import video as draw
    from moga_st.metrics import video as metrics
    from moga_st.models.simvp import SimVP

    device = setup(args.device)
    path = pretrained.find_weights(args.weights)
    net = pretrained.load_model(path, device)
    if not isinstance(net, SimVP):
        raise BadInput(f"{path}: holds a {type(net).__name__}; predict needs a video model")
    task = pretrained.read_weights(path).about.get("run", {}).get("task", {})
    side = task.get("motion", {}).get("frame_size") if args.size is None else args.size
    if side is None:
        raise BadInput(f"{path}: does not say on which frame size it was trained; give --size")
    if side < 1:
        raise BadInput(f"--size: expected at least 1, got {side}")
    clip = torch.from_numpy(read_clip(args.clip, net.config.channels, (side, side)))
    if args.start < 0:
        raise BadInput(f"--start: expected 0 or more, got {args.start}")
    if args.start + net.config.frames_in > len(clip):
        raise BadInput(
            f"{args.clip}: has {len(clip)} frames, but the model needs {net.config.frames_in} from frame {args.start}"
        )
    past = clip[args.start : args.start + net.config.frames_in]
    with torch.no_grad():
        pred = net(past[None].to(device), args.frames)[0].float().cpu()
    true = clip[args.start + len(past) :][: len(pred)]
    result: dict[str, Any] = {"frames_in": len(past), "frames_predicted": len(pred), "frames_compared": len(true)}
    if len(true):
        seen = pred[: len(true)]
        for name in ("mse", "mae", "psnr", "ssim"):
            result[name] = getattr(metrics, name)(seen, true).mean().item()
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / f"{args.clip.stem}_predicted"  # whatever --out is, the clip itself is not written over
    truth = true.numpy() if len(true) else None
    paths = draw.save_prediction(stem, past.numpy(), pred.numpy(), truth, args.clip.name)
    np.save(stem.with_name(stem.name + ".npy"), pred.numpy())
    result["written"] = [*map(str, paths), f"{stem}.npy"]
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"{args.clip}: {len(past)} frames in, {len(pred)} predicted, {len(true)} compared with the truth")
        print("".join(f"{k} {result[k]:.4g}  " for k in ("mse", "mae", "psnr", "ssim") if k in result))
        print(f"written: {', '.join(result['written'])}")


@dataclass(frozen=True)
class Lift:
    """Lift one person to 3D, from a video (with mmpose) or from 2D keypoints; write npz, BVH and an animation."""

    weights: Positional[Path]
    """A .safetensors file, a run's folder, or the name of weights in the package."""
    source: Positional[Path]
    """A video (.mp4, .mov, .gif, ...), or keypoints: .npz, or .json, or a folder of it, of COCO, OpenPose, AlphaPose or
    mmpose."""
    video: Path | None = None
    """The video that a keypoint file was found in: drawn under the keypoints, and its size and rate are taken."""
    pose2d: str = "human"
    """For a video: one of mmpose's 2D configs (name, alias or file) whose keypoints are COCO, whole-body, Halpe-26 or
    Human3.6M."""
    pose2d_weights: Path | None = None
    """Its checkpoint; left out, the published one, from torch hub's cache or downloaded."""
    detector: str | None = None
    """For a video: one of mmdet's configs (name or file) that finds people; left out, mmpose's own; whole-image takes
    the frame as one person's box."""
    detector_weights: Path | None = None
    """Its checkpoint; left out, the published one."""
    size_px: tuple[int, int] | None = None
    """Width and height of the image, where neither file nor video says."""
    fps: float | None = None
    """Frame rate of the video, which keypoints of every 5th frame, numbered so, have a fifth of; the video's, else the
    file's, else 30."""
    layout: Literal["h36m", "coco", "body_25", "halpe"] | None = None
    """Joint layout; by the number of joints if left out."""
    person: int | None = None
    """The person's number in the file, or as they appear; left out, the one who takes up most of the images."""
    min_confidence: float = 0.3
    """A joint below it counts as missing and is filled in."""
    max_gap_s: float = 0.5
    """A joint missing no longer is filled in between where it was seen; one missing longer moves with its neighbour."""
    smooth: bool = True
    """Smooth the keypoints with a one-euro filter before lifting; turn it off for exact ones."""
    one_euro: OneEuro = dataclasses.field(default_factory=OneEuro)
    """The filter."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda or cuda:N."""
    out: Path = Path("lifted")
    """Folder for NAME_3d.npz, .bvh, .png, .gif and .mp4; of a video also NAME_lift_2d.json, which `lift` reads."""
    json: bool = False
    """Print what was done as JSON."""


def lift(argv: list[str]) -> None:
    """`moga-st lift WEIGHTS SOURCE`."""
    args = tyro.cli(Lift, prog="moga-st lift", args=argv)
    import time

    import numpy as np

    from moga_st import pretrained
    from moga_st.data.pose.bvh import write_bvh
    from moga_st.data.pose.keypoints import read_keypoints
    from moga_st.data.video.clips import open_video
    from moga_st.device import setup
    from moga_st.draw.pose import save_lift
    from moga_st.infer import lift as lifting

    # people are looked for in any other file, which may take long: all that can be checked comes before
    is_video = not args.source.is_dir() and args.source.suffix.lower() not in (".npz", ".json")
    _check_flags(args, is_video)
    device = setup(args.device)
    net = pretrained.load_model(pretrained.find_weights(args.weights), device)
    lifting.check_lifter(net)
    video = open_video(args.source) if is_video else None if args.video is None else open_video(args.video)
    written: list[Path] = []
    file = args.source
    if is_video:
        assert video is not None
        file = args.out / f"{args.source.stem}_lift_2d.json"  # a name that keypoints of the user's own hardly have
        _find_people(args, video, device, file)
        written.append(file)
    found = read_keypoints(
        file,
        size_px=video.size_px if args.size_px is None and video is not None else args.size_px,
        fps=video.fps if args.fps is None and video is not None else args.fps,
        layout=args.layout,
        person=args.person,
        min_confidence=args.min_confidence,
        max_gap_s=args.max_gap_s,
    )
    start = time.perf_counter()
    poses_m = lifting.lift(net, found, device, args.one_euro if args.smooth else None)
    seconds = time.perf_counter() - start
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / f"{args.source.stem}_3d"  # whatever --out is, the input itself is not written over
    upright_m = lifting.upright(poses_m)
    frames = None if video is None else _frames_of(video, found, from_0=is_video)
    pictures = save_lift(stem, found.points_px, found.size_px, upright_m, found.fps, args.source.name, frames)
    bvh, npz = (stem.with_name(stem.name + suffix) for suffix in (".bvh", ".npz"))
    write_bvh(bvh, upright_m, found.fps)
    np.savez(npz, poses_m=upright_m, keypoints_px=found.points_px, fps=found.fps, size_px=found.size_px)
    written += [npz, bvh, *pictures]
    result = {
        "frames": len(poses_m),
        "fps": found.fps,
        "people": found.people,
        "person": found.person,
        "input": f"{found.layout}; {found.note}",
        "smoothing": dataclasses.asdict(args.one_euro) if args.smooth else None,
        "frames_per_second": round(len(poses_m) / seconds, 1),
        "written": [str(p) for p in written],
    }
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        print(
            _facts(
                {
                    **result,
                    "smoothing": args.one_euro if args.smooth else "off",
                    "written": ", ".join(result["written"]),
                }
            )
        )


def _check_flags(args: Lift, is_video: bool) -> None:
    if is_video:
        if not args.source.exists():
            raise BadInput(f"{args.source}: no such video, keypoint file or folder of them")
        if args.video is not None:
            raise BadInput(f"--video: {args.source} is a video itself; leave the flag out")
    else:
        for name in ("pose2d", "pose2d_weights", "detector", "detector_weights"):
            if getattr(args, name) != getattr(Lift, name):
                raise BadInput(f"--{name.replace('_', '-')}: is for a video; {args.source} holds keypoints already")
    positive = {
        "--fps": (args.fps,),
        "--size-px": args.size_px or (),
        "--one-euro.min-cutoff-hz": (args.one_euro.min_cutoff_hz,),
        "--one-euro.speed-cutoff-hz": (args.one_euro.speed_cutoff_hz,),
    }
    for flag, values in positive.items():
        for value in values:
            if value is not None and not 0 < value < math.inf:
                raise BadInput(f"{flag}: expected more than 0, got {value}")
    if not 0 <= args.one_euro.beta < math.inf:
        raise BadInput(f"--one-euro.beta: expected 0 or more, got {args.one_euro.beta}")
    if not 0 <= args.min_confidence <= 1:
        raise BadInput(f"--min-confidence: expected 0 to 1, got {args.min_confidence}")
    if not 0 <= args.max_gap_s < math.inf:
        raise BadInput(f"--max-gap-s: expected 0 or more, got {args.max_gap_s}")


def _frames_of(video: Video, found: Keypoints, *, from_0: bool) -> Video:
    """The frames that keypoints were found in, if they are numbered from 0.  Some programs number a video's frames from
    1, which is sure only where the last number would otherwise lie beyond the end."""
    last = found.first_frame + found.frame_step * (len(found.points_px) - 1)
    first = found.first_frame - (1 if not from_0 and last == video.frames and found.first_frame > 0 else 0)
    return video.part(first, found.frame_step, len(found.points_px))


def _find_people(args: Lift, video: Video, device: torch.device, out: Path) -> None:
    """Write the keypoints of everyone in a video."""
    from tqdm import tqdm

    from moga_st.data.pose.keypoints import write_people
    from moga_st.integrations.mmpose_2d import PeopleFinder
    from moga_st.storage import write_atomically

    find = PeopleFinder(device, args.pose2d, args.pose2d_weights, args.detector, args.detector_weights)
    out.parent.mkdir(parents=True, exist_ok=True)  # before the search, which would be lost
    people = [find(frame) for frame in tqdm(video, "finding people", video.frames, unit="frame")]
    write_atomically(out, lambda part: write_people(part, people, video.size_px, video.fps, find.layout))


@dataclass(frozen=True)
class Data:
    """Find a recipe's data, check it, say what it is; with --export write sequences of it."""

    split: Literal["train", "val", "test"] = "test"
    """Which sequences to export."""
    count: int = 1
    """How many."""
    export: Path | None = None
    """A .npy file to write them to: uint8 (t, h, w), or (count, t, h, w) for more than one."""
    data_root: Path | None = None
    """Folder that holds the data; default MOGA_ST_DATA, then datasets/ of the checkout."""
    json: bool = False
    """Print what was found as JSON."""


@dataclass(frozen=True)
class Prepare:
    """Turn downloaded motion data into the one HDF5 file that recipes read."""

    name: Positional[Literal["cmu-mocap", "human3.6m"]]
    """Which data set."""
    source: Positional[Path]
    """Folder or file, in any of the formats that datasets/NAME/README.md lists."""
    out: Path | None = None
    """File to write; default NAME.h5 in the data root."""
    src_fps: float = 120.0
    """Frame rate of CMU's .amc files: 120 for most, 60 for a few."""
    data_root: Path | None = None
    """Folder that holds the data; default MOGA_ST_DATA, then datasets/ of the checkout."""


def data(argv: list[str]) -> None:
    """`moga-st data RECIPE` and `moga-st data prepare NAME SRC`."""
    if argv[:1] == ["prepare"]:
        _prepare(tyro.cli(Prepare, prog="moga-st data prepare", args=argv[1:]))
        return
    recipe, rest = _recipe_argument("data", argv)
    args = tyro.cli(Data, prog=f"moga-st data {recipe}", args=rest)
    import numpy as np
    import torch

    from moga_st import recipes
    from moga_st.tasks.task import Setting
    from moga_st.tasks.video import MovingDigits

    root = data_root(args.data_root)
    task = recipes.load(recipe).task.build(Setting(torch.device("cpu"), root))
    facts = {**task.facts, "data_root": str(root), "fingerprint": task.data_fingerprint}
    if args.export is not None:
        if not isinstance(task, MovingDigits):
            raise BadInput(f"--export: {recipe} has no sequences of frames")
        if args.count < 1:
            raise BadInput(f"--count: expected at least 1, got {args.count}")
        frames = task.sequences(args.split, 0, args.count)[:, :, 0].numpy()
        np.save(args.export, frames if args.count > 1 else frames[0])
        facts["written"] = str(args.export)
    print(json.dumps(facts, indent=2) if args.json else _facts(facts))


def _prepare(args: Prepare) -> None:
    from moga_st.data.pose import human36m, mocap
    from moga_st.data.pose import prepared_poses as prepared

    out = args.out or data_root(args.data_root) / f"{args.name}.h5"
    if out.exists():
        raise BadInput(f"{out}: exists already; remove it, or name another file with --out")
    if not args.source.exists():
        raise BadInput(f"{args.source}: no such file or folder")
    if args.name == "cmu-mocap":
        mocap.prepare(args.source, out, args.src_fps)
    else:
        human36m.prepare(args.source, out)
    print(prepared.describe(out))


@dataclass(frozen=True)
class Models:
    """List every model with its parameters and multiply-adds (the field's "FLOPs") for one example."""

    json: bool = False
    """Print JSON."""


def models(argv: list[str]) -> None:
    """`moga-st models`."""
    args = tyro.cli(Models, prog="moga-st models", args=argv)
    from moga_st import recipes
    from moga_st.bench import count

    known = _models() | {name: recipes.load(name).model for name in recipes.names()}
    rows = []
    for name, config in known.items():
        try:
            params, macs = count(config)
        except BadInput as error:  # a baseline whose package is not installed
            print(f"{name}: left out, {error}", file=sys.stderr)
            continue
        shape = "x".join(map(str, config.example_shape))
        rows.append({"model": name, "kind": type(config).__name__, "input": shape, "params": params, "macs": macs})
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    print(
        _table(
            [
                ["model", "kind", "input", "params (M)", "MACs (G)"],
                *(
                    [r["model"], r["kind"], r["input"], f"{r['params'] / 1e6:.3f}", f"{r['macs'] / 1e9:.2f}"]
                    for r in rows
                ),
            ]
        )
    )


def _models() -> dict[str, ModelConfig]:
    """The networks that have a name of their own."""
    from moga_st.models import lifter, moganet

    known: dict[str, ModelConfig] = {f"moganet_{k}": v for k, v in moganet.SIZES.items()}
    known.update({f"lifter_{k}": v for k, v in lifter.SIZES.items()})
    return known


def bench(argv: list[str]) -> None:
    """`moga-st bench RECIPE [FLAGS]`, a network of `moga-st models`, or "kernels"."""
    name, rest = _recipe_argument("bench", argv)
    from moga_st import recipes, record
    from moga_st.bench import BenchKernels, BenchModel, BenchRecipe, run, run_kernels, run_model
    from moga_st.device import setup

    known, prog = _models(), f"moga-st bench {name}"
    if name == "kernels":
        args = tyro.cli(BenchKernels, prog=prog, args=rest)
        rows = run_kernels(args)
    elif name in known:
        args = tyro.cli(BenchModel, prog=prog, args=rest)
        rows = run_model(known[name], args)
    elif name in recipes.names() or name.endswith(".py"):
        config, args = _with_recipe("bench", name, BenchRecipe(), rest)
        rows = run(config, args)
    else:
        names = ["kernels", *known, *recipes.names()]
        raise BadInput(
            f"bench {name!r}: unknown{nearest(name, names)}; there are {', '.join(names)}, or name a .py file"
        )
    if args.json:
        made_by = record.provenance(setup(args.device))
        argv = ["moga-st", "bench", *argv]
        print(json.dumps({"recipe": name, "rows": rows, "argv": argv, "made_by": made_by}, indent=2))
        return
    columns = ["what", "batch", "ms", "samples/s", "frames/s", "memory (MB)", "roofline", "ratio", "against"]
    print(_table([columns, *([_cell(row.get(c)) for c in columns] for row in rows)]))


@dataclass(frozen=True)
class Convert:
    """Turn a published checkpoint into weights of this package, or store ours in half the size."""

    source: Positional[Path]
    """The published .pth or .ckpt: a state dict, bare or under "state_dict", prefixes or not; or weights of ours."""
    target: Positional[Path]
    """The .safetensors file to write; for mmpose the .pth that mmpose 1.x loads."""
    from_: Annotated[Literal["openstl", "moganet", "mmpose", "moga_st"], tyro.conf.arg(name="from")]
    """openstl: SimVP with the MogaNet translator. moganet: the classifier, MogaNet's or OpenMixup's keys. mmpose: a
    top-down pose model of the MogaNet repository (mmpose 0.x), for today's mmpose with our backbone. moga_st: weights
    or a run's folder of this package, for --half."""
    half: bool = False
    """Store matrices and kernels as float16."""
    recipe: str = "mmnist_simvp_moga"
    """The recipe whose task `eval` scores converted SimVP weights on."""


def convert(argv: list[str]) -> None:
    """`moga-st convert --from DIALECT IN OUT`."""
    args = tyro.cli(Convert, prog="moga-st convert", args=argv)
    from moga_st import pretrained, recipes
    from moga_st.convert import convert as run

    suffix = ".pth" if args.from_ == "mmpose" else ".safetensors"
    if args.target.suffix != suffix:
        raise BadInput(f"{args.target}: name the output something{suffix}")
    if not args.target.parent.is_dir():
        raise BadInput(f"{args.target}: there is no folder {args.target.parent}; make it first")
    if args.from_ == "mmpose":
        if args.half:
            raise BadInput("--half: is for .safetensors; mmpose loads a .pth")
        _convert_pose(args)
        return
    about: dict[str, Any] = {"converted_from": args.source.name}
    if args.from_ == "moga_st":
        path = pretrained.find_weights(args.source)
        net, (_, config, about) = pretrained.load_model(path), pretrained.read_weights(path)
    else:
        net, config, published = run(args.source, args.from_)
        about["published"] = published
    if args.from_ == "openstl":
        about["run"] = dataclasses.replace(recipes.load(args.recipe), model=config).to_dict()
    pretrained.export_weights(args.target, net, config, about, args.half)
    size = sum(p.numel() for p in net.parameters()) / 1e6
    print(f"{args.target}: {type(net).__name__}, {size:.3f} M parameters, all {len(net.state_dict())} keys converted")


def _convert_pose(args: Convert) -> None:
    from moga_st import checkpoint
    from moga_st.convert import convert_pose
    from moga_st.models.moganet import SIZES

    tensors, config = convert_pose(args.source)
    checkpoint.save(args.target, {"state_dict": tensors, "meta": {"converted_from": args.source.name}})
    sizes = {dataclasses.replace(size, classes=0): repr(name) for name, size in SIZES.items()}
    dims = {name: getattr(config, name) for name in ("widths", "depths", "ffn_ratios")}
    print(f"{args.target}: all {len(tensors)} keys converted; in mmpose's config")
    print(f"backbone=dict(type='MogaNet', arch={sizes.get(config, dims)}), head=dict(in_channels={config.widths[-1]})")


def _recipe_names() -> list[str]:
    from moga_st.recipes import names

    return names()


def _recipe_argument(verb: str, argv: list[str]) -> tuple[str, list[str]]:
    """The recipe, which comes first because the flags depend on it, and the rest of the arguments."""
    if not argv or argv[0].startswith("-"):
        print(f"usage: moga-st {verb} RECIPE [FLAGS]\n\nrecipes: {', '.join(_recipe_names())}, or a .py file")
        print(f"`moga-st {verb} RECIPE --help` lists the flags")
        raise SystemExit(0 if argv and argv[0] in ("-h", "--help") else 2)
    return argv[0], argv[1:]


def _docstring(recipe: str) -> str | None:
    import ast

    from moga_st import recipes

    return ast.get_docstring(ast.parse(recipes.path(recipe).read_text()))


def _run_config(path: Path, about: dict[str, Any], recipe: str | None) -> RunConfig:
    """The run config behind weights, or that of ``recipe``."""
    from moga_st import recipes
    from moga_st.engine import RunConfig

    if recipe is not None:
        return recipes.load(recipe)
    if "run" not in about:
        raise BadInput(f"{path}: does not say which task it belongs to; name one with --recipe")
    try:
        return RunConfig.from_dict(about["run"])
    except BadInput as error:  # a recipe of the user's own, whose classes only its file defines
        raise BadInput(f"{path}: {error}; or name the recipe with --recipe") from error


def _score_table(scores: dict[str, float]) -> str:
    """Model and baseline in rows, metrics in columns; then each breakdown of the first metric (lead time, action)."""
    names = [k for k in scores if "/" not in k]
    prefixes = list(dict.fromkeys(k.removesuffix(names[0]) for k in scores if k.endswith(f"/{names[0]}")))
    rows = [["", *names]]
    for prefix in ("", *prefixes):
        label = prefix.rstrip("/").replace("_", " ") or "model"
        rows.append([label, *(_cell(scores[prefix + n]) if prefix + n in scores else "" for n in names)])
    tables = [_table(rows)]
    breakdowns = dict.fromkeys(k.split("/")[1] for k in scores if k.startswith(f"{names[0]}/"))
    for kind in breakdowns:
        parts = [k.split("/", 2)[2] for k in scores if k.startswith(f"{names[0]}/{kind}/")]
        rows = [[kind, "model", *(p.rstrip("/").replace("_", " ") for p in prefixes)]]
        for part in parts:
            values = [scores.get(f"{prefix}{names[0]}/{kind}/{part}") for prefix in ("", *prefixes)]
            rows.append([part, *(_cell(v) for v in values)])
        if not any(row[2:] and any(row[2:]) for row in rows[1:]):
            rows = [row[:2] for row in rows]
        tables.append(f"{names[0]} by {kind}\n{_table(rows)}")
    return "\n\n".join(tables)


def _facts(facts: dict[str, Any]) -> str:
    """What the numbers mean, a line each, without the standing conventions."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{k}: {v}" for k, v in value.items() if key != "conventions" and v not in (None, [], "")]
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1 else f"{value:,.2f}"
    return "" if value is None else str(value)


def _table(rows: list[list[str]]) -> str:
    """Columns padded to their widest cell; the first is left, the others are right aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _leave(code: int, message: object) -> NoReturn:
    if os.environ.get("RANK", "0") == "0":  # under torchrun one process speaks for all
        print(f"moga-st: {message}", file=sys.stderr)
    raise SystemExit(code)
