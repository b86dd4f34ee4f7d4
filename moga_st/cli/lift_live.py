"""`moga-st lift WEIGHTS --camera 0`: people as they move."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from moga_st.cli.find_people import make_finder
from moga_st.cli.lift_flags import Lift
from moga_st.data.pose.export.motion import AXES
from moga_st.data.pose.keypoints import LAYOUT_BY_NAME
from moga_st.data.pose.people import area
from moga_st.data.pose.skeleton import JOINTS
from moga_st.data.video.camera import Snapshot, open_camera
from moga_st.infer.live import LiveLifter, LivePerson

if TYPE_CHECKING:
    import torch
    from torch import nn

TITLE = "moga-st lift"


def lift_live(args: Lift, net: nn.Module, device: torch.device) -> None:
    """Lift what the camera sees until it ends, the window is closed or the user interrupts."""
    assert args.camera is not None
    space = args.space or "camera"
    camera = open_camera(args.camera)
    find = make_finder(args, camera.fps, device, None if args.everyone else 1)
    lifter, window, shown = None, _window(args), 0
    streams = window is None or args.json
    if streams:
        head = {"joints": JOINTS, "units": "m", "space": space, "axes": AXES[space], "fps": camera.fps}
        print(json.dumps(head), flush=True)
    start = time.perf_counter()
    with camera:
        try:
            for snapshot in camera:
                if lifter is None:
                    lifter = _lifter(args, net, device, snapshot.image, camera.fps, find.layout)
                found = find(snapshot.image)
                if not args.everyone and len(found) > 1:
                    found = found[[int(np.argmax([area(p) for p in found]))]]
                people = lifter(snapshot.number, snapshot.time_s, found)
                shown += 1
                if streams:
                    print(json.dumps(_line(snapshot, people, space)), flush=True)
                if window is not None and not window(snapshot, people, shown / (time.perf_counter() - start)):
                    break
        except KeyboardInterrupt:  # the way to end it
            pass
    rate = shown / (time.perf_counter() - start)
    print(
        f"moga-st: {shown:,} of {camera.taken:,} frames lifted, {rate:.1f} frames/s; {camera.dropped:,} dropped for "
        f"newer ones, at most {camera.most_waiting} waited",
        file=sys.stderr,
    )


def _lifter(args: Lift, net: nn.Module, device: torch.device, image: np.ndarray, fps: float, layout: str) -> LiveLifter:
    size_px = (image.shape[1], image.shape[0])
    return LiveLifter(
        net,
        device,
        size_px,
        fps,
        LAYOUT_BY_NAME[layout],
        focal_px=args.focal_px,
        smooth=args.smoothing,
        min_confidence=args.min_confidence,
        patience_s=args.max_gap_s,
    )


def _line(snapshot: Snapshot, people: list[LivePerson], space: str) -> dict[str, Any]:
    """What is written of a frame."""
    poses = [(p.person, p.poses_m - p.poses_m[:1] if space == "root" else p.poses_m, p.keypoints_px) for p in people]
    return {
        "frame": snapshot.number,
        "time_s": round(snapshot.time_s, 4),
        "people": [
            {"person": person, "poses_m": _rounded(pose, 4), "keypoints_px": _rounded(points, 2)}
            for person, pose, points in poses
        ],
    }


def _rounded(values: np.ndarray, digits: int) -> list[Any]:
    return values.astype(np.float64).round(digits).tolist()


def _window(args: Lift) -> _Window | None:
    """Where poses are shown, if that is wanted and there is a screen."""
    screen = sys.platform in ("win32", "darwin") or any(os.environ.get(v) for v in ("DISPLAY", "WAYLAND_DISPLAY"))
    if not (args.draw and screen):
        return None
    try:
        return _Window(importlib.import_module("cv2"))
    except Exception as error:  # OpenCV's own error: no screen that it can use, or a build without windows
        reason = " ".join(str(error).split())
        print(f"moga-st: warning: no window ({reason:.120}); poses go to stdout", file=sys.stderr)
        return None


class _Window:
    """OpenCV's."""

    def __init__(self, cv2: Any):
        self._cv2 = cv2
        cv2.namedWindow(TITLE, cv2.WINDOW_AUTOSIZE)

    def __call__(self, snapshot: Snapshot, people: list[LivePerson], rate: float) -> bool:
        """Show a frame with the largest of its people; returns whether to go on."""
        from moga_st.draw.live import live_sheet

        one = max(people, key=lambda p: area(p.keypoints_px), default=None)
        title = f"{snapshot.time_s:.1f} s   {len(people)} people   {rate:.0f} frames/s   q ends"
        points, pose = (None, None) if one is None else (one.keypoints_px, one.poses_m)
        self._cv2.imshow(TITLE, np.ascontiguousarray(live_sheet(snapshot.image, points, pose, title)[..., ::-1]))
        pressed = self._cv2.waitKey(1) & 0xFF
        return pressed not in (27, ord("q")) and self._cv2.getWindowProperty(TITLE, self._cv2.WND_PROP_VISIBLE) >= 1
