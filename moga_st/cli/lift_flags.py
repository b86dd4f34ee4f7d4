"""The flags of `moga-st lift`, and what each may be."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from moga_st.cli.parsing import named
from moga_st.data.pose.smoothing import OneEuro
from moga_st.errors import BadInput, nearest

NOT_LIVE = (
    *("video", "size_px", "fps", "layout", "person", "ignore_ids", "clip"),
    *("pitch_deg", "roll_deg", "height_m", "truth", "formats", "report", "cam", "cam_frame", "out", "overwrite"),
)  # flags that say nothing to a camera
MMPOSE = ("pose2d", "pose2d_weights", "detector", "detector_weights")  # flags that are mmpose's alone


@dataclass(frozen=True)
class Lift:
    """Lift people to 3D, from a video (by MediaPipe or mmpose) or 2D keypoints; write motion and pictures of each."""

    weights: Annotated[Positional[Path], named("WEIGHTS")]
    """A .safetensors file, a run's folder, or the name of weights in the package."""
    source: Annotated[Positional[Path | None], named("[SOURCE]")] = None
    """A video (.mp4, .mov, .gif, ...), or keypoints: a file or folder of COCO, OpenPose, AlphaPose, mmpose, MediaPipe,
    YOLO, ViTPose, DeepLabCut, VideoPose3D, or npz; known by what is in it."""
    camera: str | None = None
    """In place of a source: the number of a camera (0 is the first), or a video to be played as one. Always the newest
    frame is lifted, with none that come later (best by `lifter_causal`), and shown in a window, or written to stdout: a
    line of JSON that says what the others mean, then one a frame. q, Esc or Ctrl-C ends it."""
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
    space: Literal["world", "camera", "root"] | None = None
    """world: upright, feet on the floor, still where they stand; camera: as the camera sees it; root: as the network
    has it, relative to the hip, bones of any length. Left out, world, and camera with --camera."""
    pitch_deg: float | None = None
    """How far the camera looks down, for the world; left out, found from people who stand and where they tread."""
    roll_deg: float | None = None
    """How far the camera is turned clockwise; left out, found too, or 0 with --pitch-deg."""
    focal_px: float | None = None
    """The camera's focal length in pixels; left out, the image's longer side."""
    height_m: float | None = None
    """How tall the people are; left out, as the network has it."""
    truth: Path | None = None
    """The person's known poses, to score against: an npz as `lift` writes it (poses_m, fps; frame and space where they
    are known) or a .npy of (t, 17, 3), in metres, in the axes of the space that is lifted to."""
    formats: tuple[Literal["npz", "bvh", "glb", "csv", "trc"], ...] = ("npz", "bvh")
    """Files of motion: npz holds all that is known; bvh and glb (glTF) for animation, csv and trc for biomechanics."""
    draw: bool = True
    """Pictures: png, gif and mp4; with --camera the window."""
    report: bool = False
    """One page for everyone that is lifted, NAME_lift.html: the input beside the people in 3D, to turn and to play."""
    cam: str | None = None
    """Draw what this joint (LWrist, say) came from: HiResCAM's heat on the keypoints of its window, as
    NAME_personN_3d_cam.png."""
    cam_frame: int | None = None
    """Of --cam: the person's frame, counted from 1; left out, the middle one."""
    runtime: Literal["onnxruntime", "openvino"] | None = None
    """What runs the network instead of torch, on the CPU: weights are exported for it in memory, an .onnx file of
    `moga-st export` is taken as it is."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda or cuda:N."""
    out: Path = Path("lifted")
    """Folder for NAME_personN_3d.npz and the other files (NAME_personN_partK_3d where a long absence splits the
    clip); of a video also NAME_lift_2d.json, which `lift` reads."""
    overwrite: bool = False
    """Replace files of these names."""
    json: bool = False
    """Print what was done as JSON; with --camera, write poses to stdout beside the window too."""

    @property
    def smoothing(self) -> OneEuro | None:
        return self.one_euro if self.smooth else None


def given_for_mmpose(args: Lift) -> list[str]:
    """The flags given that are mmpose's alone."""
    return [f"--{name.replace('_', '-')}" for name in MMPOSE if getattr(args, name) != getattr(Lift, name)]


def check_flags(args: Lift, is_video: bool) -> None:
    """Refuse flags that contradict the source or each other, or are out of range.

    Raises:
        BadInput: names the flag.
    """
    if args.everyone and args.person is not None:
        raise BadInput("--everyone and --person: give one of them")
    if args.everyone and args.truth is not None:
        raise BadInput("--truth: holds one person's poses; name the person with --person in place of --everyone")
    if args.camera is not None:
        _check_camera(args)
    elif args.source is None:
        raise BadInput("lift: name a video or a file of keypoints, or --camera 0")
    elif is_video:
        if not args.source.exists():
            raise BadInput(f"{args.source}: no such video, keypoint file or folder of them")
        if args.video is not None:
            raise BadInput(f"--video: {args.source} is a video itself; leave the flag out")
        if args.finder == "mediapipe" and (flag := next(iter(given_for_mmpose(args)), None)):
            raise BadInput(f"{flag}: is for mmpose, and --finder mediapipe was given; leave one of them out")
    else:
        for_video = [*(["--finder"] if args.finder != Lift.finder else []), *given_for_mmpose(args)]
        if for_video:
            raise BadInput(f"{for_video[0]}: is for a video; {args.source} holds keypoints already")
    _check_cam(args)
    _check_ranges(args)


def _check_cam(args: Lift) -> None:
    if args.cam is None:
        if args.cam_frame is not None:
            raise BadInput("--cam-frame: says nothing without --cam; name a joint with that")
        return
    from moga_st.data.pose.skeleton import JOINTS  # which brings torch, that the help does not need

    if args.cam not in JOINTS:
        raise BadInput(f"--cam: {args.cam!r} is none of {', '.join(JOINTS)}{nearest(args.cam, JOINTS)}")
    if args.runtime is not None:
        raise BadInput("--cam: needs torch; leave --runtime out")


def _check_camera(args: Lift) -> None:
    if args.source is not None:
        raise BadInput(f"--camera: {args.source} is lifted, or the camera; leave one of them out")
    if args.space == "world":
        raise BadInput("--space world: needs the whole clip; with --camera there are camera and root")
    for name in NOT_LIVE:
        if getattr(args, name) != getattr(Lift, name):
            raise BadInput(f"--{name.replace('_', '-')}: says nothing to --camera; leave it out")


def _check_ranges(args: Lift) -> None:
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
    for flag, value in (("--pitch-deg", args.pitch_deg), ("--roll-deg", args.roll_deg)):
        if value is not None and not abs(value) <= 90:
            raise BadInput(f"{flag}: expected -90 to 90, got {value}")
    if args.height_m is not None and not 0.4 <= args.height_m <= 2.6:  # as `moga_st.infer.person.scaled_to` has it
        raise BadInput(f"--height-m: expected 0.4 to 2.6, got {args.height_m}")
    if not 0 <= args.one_euro.beta < math.inf:
        raise BadInput(f"--one-euro.beta: expected 0 or more, got {args.one_euro.beta}")
    if not 0 <= args.min_confidence <= 1:
        raise BadInput(f"--min-confidence: expected 0 to 1, got {args.min_confidence}")
    if not 0 <= args.max_gap_s < math.inf:
        raise BadInput(f"--max-gap-s: expected 0 or more, got {args.max_gap_s}")
