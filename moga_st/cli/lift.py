"""`moga-st lift WEIGHTS SOURCE`."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from tyro.conf import Positional

from moga_st.cli.tables import fact_lines
from moga_st.data.pose.smoothing import OneEuro
from moga_st.errors import BadInput

if TYPE_CHECKING:
    import torch

    from moga_st.data.video.clips import Video


MMPOSE = ("pose2d", "pose2d_weights", "detector", "detector_weights")  # flags that are mmpose's alone


@dataclass(frozen=True)
class Lift:
    """Lift people to 3D, from a video (by MediaPipe or mmpose) or 2D keypoints; write motion and pictures of each."""

    weights: Positional[Path]
    """A .safetensors file, a run's folder, or the name of weights in the package."""
    source: Positional[Path]
    """A video (.mp4, .mov, .gif, ...), or keypoints: a file or folder of COCO, OpenPose, AlphaPose, mmpose, MediaPipe,
    YOLO, ViTPose, DeepLabCut, VideoPose3D, or npz; known by what is in it."""
    video: Path | None = None
    """The video that a keypoint file was found in: drawn under the keypoints, and its size and rate are taken."""
    finder: Literal["auto", "mediapipe", "mmpose"] = "auto"
    """For a video: what finds people; auto is MediaPipe where it is installed and nothing of mmpose's is given."""
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
    layout: (
        Literal["h36m", "coco", "body_25", "halpe", "mediapipe", "openpose_18", "posetrack", "coco_wholebody"] | None
    ) = None
    """Joint layout; left out, as the file names its joints, or as the body is that they make."""
    person: int | None = None
    """The person's number in the file, or as they appear; left out, the one who takes up most of the images."""
    everyone: bool = False
    """Lift all people of the file."""
    ignore_ids: bool = False
    """Follow people by their places, whatever numbers the file gives them."""
    clip: str | None = None
    """Of a file with several clips (VideoPose3D's), the name of one."""
    min_confidence: float = 0.3
    """A joint below it counts as missing and is filled in."""
    max_gap_s: float = 0.5
    """A joint missing no longer is filled in between where it was seen; one missing longer moves with its neighbour."""
    smooth: bool = True
    """Smooth the keypoints with a one-euro filter before lifting; turn it off for exact ones."""
    one_euro: OneEuro = dataclasses.field(default_factory=OneEuro)
    """The filter."""
    space: Literal["world", "camera", "root"] = "world"
    """world: upright, feet on the floor, still where they stand; camera: as the camera sees it; root: as the network
    has it, relative to the hip, bones of any length."""
    pitch_deg: float | None = None
    """How far the camera looks down, for the world; left out, found from people who stand and where they tread."""
    roll_deg: float | None = None
    """How far the camera is turned clockwise; left out, found too, or 0 with --pitch-deg."""
    focal_px: float | None = None
    """The camera's focal length in pixels; left out, the image's longer side."""
    height_m: float | None = None
    """How tall the people are; left out, as the network has it."""
    formats: tuple[Literal["npz", "bvh", "glb", "csv", "trc"], ...] = ("npz", "bvh")
    """Files of motion: npz holds all that is known; bvh and glb (glTF) for animation, csv and trc for biomechanics."""
    draw: bool = True
    """Pictures: png, gif and mp4."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda or cuda:N."""
    out: Path = Path("lifted")
    """Folder for NAME_personN_3d.npz and the other files (NAME_personN_partK_3d where a long absence splits the
    clip); of a video also NAME_lift_2d.json, which `lift` reads."""
    overwrite: bool = False
    """Replace files of these names."""
    json: bool = False
    """Print what was done as JSON."""


def run(argv: list[str]) -> None:
    args = tyro.cli(Lift, prog="moga-st lift", args=argv)
    try:
        _lift(args)
    except BadInput as error:  # the library names its arguments in backticks
        raise BadInput(re.sub(r"`([a-z_]+)`", lambda m: "--" + m[1].replace("_", "-"), str(error))) from error


def _lift(args: Lift) -> None:
    from moga_st import pretrained
    from moga_st.data.pose.keypoints import holds_keypoints, read_people
    from moga_st.data.video.clips import open_video
    from moga_st.device import setup
    from moga_st.infer import lift_files
    from moga_st.infer.scene import check_any_lifter, lift_scene

    # people are looked for in any other file, which may take long: all that can be checked comes before
    is_video = not args.source.is_dir() and not holds_keypoints(args.source)
    _check_flags(args, is_video)
    device = setup(args.device)
    net = pretrained.load_model(pretrained.find_weights(args.weights), device)
    check_any_lifter(net)
    video = open_video(args.source) if is_video else None if args.video is None else open_video(args.video)
    file, written = args.source, []
    if is_video:
        assert video is not None
        file = args.out / f"{args.source.stem}_lift_2d.json"  # a name that keypoints of the user's own hardly have
        _find_people(args, video, device, file)
        written.append(file)
    people = read_people(
        file,
        size_px=video.size_px if args.size_px is None and video is not None else args.size_px,
        fps=video.fps if args.fps is None and video is not None else args.fps,
        layout=args.layout,
        person=args.person,
        everyone=args.everyone,
        min_confidence=args.min_confidence,
        max_gap_s=args.max_gap_s,
        ignore_ids=args.ignore_ids,
        clip=args.clip,
    )
    stems = [lift_files.stem_of(args.out, args.source.stem, k) for k in people]
    if not args.overwrite:
        lift_files.check_free(stems, (*args.formats, *(lift_files.PICTURES if args.draw else ())))
    args.out.mkdir(parents=True, exist_ok=True)
    results = []
    if video is not None and (turned := lift_files.turned_warning(video)):
        print(f"moga-st: warning: {turned}", file=sys.stderr)
    start = time.perf_counter()
    motions = lift_scene(
        net,
        people,
        device,
        space=args.space,
        smooth=args.one_euro if args.smooth else None,
        focal_px=args.focal_px,
        pitch_deg=args.pitch_deg,
        roll_deg=args.roll_deg,
        height_m=args.height_m,
    )
    rate = sum(len(k.points_px) for k in people) / (time.perf_counter() - start)
    for k, motion, stem in zip(people, motions, stems, strict=True):
        for warning in k.warnings:
            print(f"moga-st: warning: person {k.person}: {warning}", file=sys.stderr)
        frames = None if video is None else lift_files.frames_of(video, k, from_0=is_video)
        files = lift_files.write_lifted(stem, k, motion, args.formats, args.source.name, frames, args.draw)
        facts = lift_files.facts(k, [*written, *files], rate)
        results.append(
            {
                **facts,
                "space": f"{args.space}; {motion.note.removeprefix(k.note + '; ')}",
                "smoothing": dataclasses.asdict(args.one_euro) if args.smooth else None,
            }
        )
        written = []
    _print(args, results)


def _print(args: Lift, results: list[dict[str, Any]]) -> None:
    """One person's facts, or the list of everyone's."""
    if args.json:
        several = args.everyone or len(results) > 1
        print(json.dumps({"lifted": results} if several else results[0], indent=2))
        return
    for result in results:
        shown = {k: v for k, v in result.items() if k != "warnings"}
        shown |= {"smoothing": args.one_euro if args.smooth else "off", "written": ", ".join(result["written"])}
        print(fact_lines(shown))


def _check_flags(args: Lift, is_video: bool) -> None:
    if is_video:
        if not args.source.exists():
            raise BadInput(f"{args.source}: no such video, keypoint file or folder of them")
        if args.video is not None:
            raise BadInput(f"--video: {args.source} is a video itself; leave the flag out")
    else:
        if args.everyone and args.person is not None:
            raise BadInput("--everyone and --person: give one of them")
        for name in ("finder", *MMPOSE):
            if getattr(args, name) != getattr(Lift, name):
                raise BadInput(f"--{name.replace('_', '-')}: is for a video; {args.source} holds keypoints already")
    positive = {
        "--fps": (args.fps,),
        "--size-px": args.size_px or (),
        "--focal-px": (args.focal_px,),
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


def _find_people(args: Lift, video: Video, device: torch.device, out: Path) -> None:
    """Write the keypoints of everyone in a video."""
    from tqdm import tqdm

    from moga_st.data.pose.keypoints import write_people
    from moga_st.integrations import mediapipe
    from moga_st.storage import write_atomically

    own = any(getattr(args, name) != getattr(Lift, name) for name in MMPOSE)
    if args.finder == "mediapipe" or (args.finder == "auto" and not own and mediapipe.is_there()):
        find = mediapipe.PeopleFinder(video.fps)
    else:
        from moga_st.integrations import mmpose_2d

        find = mmpose_2d.PeopleFinder(device, args.pose2d, args.pose2d_weights, args.detector, args.detector_weights)
    out.parent.mkdir(parents=True, exist_ok=True)  # before the search, which would be lost
    people = [find(frame) for frame in tqdm(video, "finding people", video.frames, unit="frame")]
    write_atomically(out, lambda part: write_people(part, people, video.size_px, video.fps, find.layout))
