"""What a lifter should hold against, beside the protocol: other bodies, other cameras, cut images, faces for heads.

Each check is a list of :class:`Shot`, keypoints with known poses, made from motion that nothing was trained on.  All
draws come from names, so everyone gets the same.

Shape legend: ``t`` frames, 22 canonical keypoints, 17 joints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moga_st.data.draws import Draws, named_uniform
from moga_st.data.pose.camera import Camera, project, world_to_camera
from moga_st.data.pose.detector_noise import DetectorNoise, detect
from moga_st.data.pose.face import canonical_points, face_to_camera
from moga_st.data.pose.generated import ACTIONS, generate_clip
from moga_st.data.pose.generated_motions import FPS
from moga_st.data.pose.prepared_poses import MotionClip
from moga_st.data.pose.random_cameras import look_at, random_views
from moga_st.data.pose.skeleton import CANONICAL, COCO17, H36M17, JOINTS, Layout, to_canonical, to_h36m17

CUT_PX = (2000, 1000)
_BODIES = (7, 8)  # the generated bodies that no recipe trains on
_PIECE, _CUT_PIECE = 81, 41  # frames of a piece of a clip; one who walks stays in a cut image for the shorter one
_KEYPOINT_OF = {"LFoot": "LAnkle", "RFoot": "RAnkle"}
_FACE = 5  # the first canonical keypoints
_TRUNK = [JOINTS.index(name) for name in ("Hip", "Spine", "Thorax", "Neck/Nose", "Head")]


@dataclass(frozen=True, eq=False)
class Shot:
    """One person as one camera saw them, and where they were."""

    name: str
    keypoints: np.ndarray  # (t, 22, 3) canonical, pixels and confidence
    layout: Layout  # what the detector names
    size_px: tuple[int, int]
    focal_px: float
    fps: float
    poses_m: np.ndarray  # (t, 17, 3) in the camera

    def seen17(self) -> np.ndarray:
        """The keypoints as Human3.6M-17, by the layout's rules where it is another: (t, 17, 3), confidence 0 where a
        joint is not seen."""
        points = torch.from_numpy(self.keypoints)
        if self.layout is H36M17:
            return points[:, [CANONICAL.index(_KEYPOINT_OF.get(name, name)) for name in JOINTS]].numpy()
        return to_h36m17(points[:, [CANONICAL.index(name) for name in self.layout.joints]], self.layout).numpy()


def protocol(clips: Iterable[MotionClip], noise: DetectorNoise) -> list[Shot]:
    """The clips' own cameras through the fixed detector: the pose task's noisy 2D, keypoint for keypoint."""
    shots = []
    for clip in clips:
        for number, view in enumerate(clip.views):
            camera = clip.views[view].camera
            exact = torch.from_numpy(clip.keypoints(view, "gt"))[..., :2]
            points = to_canonical(detect(exact, clip.name, number, 0, noise), H36M17)
            shots.append(_shot(f"{clip.name} {view}", points, H36M17, camera, clip.fps, clip.camera_m(view)))
    return shots


def other_cameras(noise: DetectorNoise) -> list[Shot]:
    """Generated bodies, seen by cameras unlike the four of the protocol: 2 to 8 m away, 0.3 to 3 m high, pitched and
    rolled, of any focal length, portrait and landscape."""
    shots = []
    for subject in _BODIES:
        for action in ACTIONS:
            for take in range(2):
                world_m = torch.from_numpy(generate_clip(subject, action, 10 + take, _PIECE))
                name = f"G{subject}/{action}/{take}"
                number = torch.tensor([int(named_uniform(f"moga_st check {name}", 1, 1).item() * 2**31)])
                views = random_views(world_m[None], Draws(0, number), truncated=0.0)
                half = views.half[0].double()
                size = torch.round(half / half.max() * 1920).to(torch.int64)
                focal = (size / (2 * half))[0].item()
                camera = _camera(views.rotation[0], views.position_m[0], focal, (int(size[0]), int(size[1])))
                seen = world_to_camera(world_m.double(), camera)
                points = detect(project(seen, camera).float(), name, 0, 0, noise)
                shots.append(_shot(name, to_canonical(points, H36M17), H36M17, camera, FPS, seen.float().numpy()))
    return shots


def truncated(clips: Iterable[MotionClip], noise: DetectorNoise) -> list[Shot]:
    """Pieces of clips by the protocol's cameras turned and zoomed to the chest, so that the legs are outside the image,
    or to the legs, so that the head and the arms are.  The image is wide: nobody walks out of it."""

    def cut(name: str, world_m: Tensor, camera: Camera) -> tuple[Camera, Layout]:
        joint = ("Thorax", "LKnee")[int(named_uniform(f"moga_st truncated {name}", 1, 1).item() * 2)]
        aim = world_m[:, JOINTS.index(joint)].mean(0)
        distance = (aim - camera.position_m).norm()
        focal = CUT_PX[1] / 2 / 0.7 * distance.item()  # 0.7 m up and down
        return _camera(look_at((aim - camera.position_m)[None])[0], camera.position_m, focal, CUT_PX), H36M17

    return _pieces(clips, noise, cut, _CUT_PIECE)


def faces(clips: Iterable[MotionClip], noise: DetectorNoise) -> list[Shot]:
    """Pieces of clips by the protocol's cameras with COCO's keypoints: of the head there is only the face."""
    return _pieces(clips, noise, lambda name, world_m, camera: (camera, COCO17))  # noqa: ARG005


def _pieces(
    clips: Iterable[MotionClip],
    noise: DetectorNoise,
    cut: Callable[[str, Tensor, Camera], tuple[Camera, Layout]],
    frames: int = _PIECE,
) -> list[Shot]:
    """One piece of each clip, from its middle, by one of its cameras."""
    shots = []
    for number, clip in enumerate(clips):
        view = list(clip.views)[number % len(clip.views)]
        assert clip.world_m is not None
        start = max(0, (len(clip) - frames) // 2)
        world_m = torch.from_numpy(clip.world_m[start : start + frames]).double()
        name = f"{clip.name} {view}"
        camera, layout = cut(name, world_m, clip.views[view].camera)
        seen = world_to_camera(world_m, camera)
        u = named_uniform(f"moga_st face {name}", 1, 3)[0]
        seconds = torch.arange(len(world_m)) / clip.fps
        yaw = 0.8 * torch.sin(2 * math.pi * ((0.1 + 0.3 * u[0]) * seconds + u[1]))  # looking about, up to 45 degrees
        points3d = canonical_points(seen, yaw, torch.full_like(yaw, 0.94 + 0.12 * u[2].item()))
        points = project(points3d, camera).float()
        body = [CANONICAL.index(_KEYPOINT_OF.get(name, name)) for name in JOINTS]
        found = to_canonical(detect(points[:, body], clip.name, number, 0, noise), H36M17)
        # face points in the places of trunk joints, which are as hard to find; from behind they are guesses
        there = points[:, body]
        there[:, _TRUNK] = points[:, :_FACE]
        face = detect(there, f"{clip.name} face", number, 0, noise)[:, _TRUNK]
        guess = torch.where(face_to_camera(points3d.float()) < -0.2, 2.0, 1.0)[:, None, None]
        found[:, :_FACE, :2] = points[:, :_FACE] + (face[..., :2] - points[:, :_FACE]) * guess
        found[:, :_FACE, 2:] = face[..., 2:]
        inside = ((found[..., :2] >= 0) & (found[..., :2] <= camera.size_px.float())).all(-1)
        named = torch.tensor([layout.same_as.get(k, k) in layout.joints for k in CANONICAL])
        found = torch.where((inside & named)[..., None], found, 0.0)
        shots.append(_shot(name, found, layout, camera, clip.fps, seen.float().numpy()))
    return shots


def _camera(rotation: Tensor, position_m: Tensor, focal_px: float, size_px: tuple[int, int]) -> Camera:
    size = torch.tensor(size_px, dtype=torch.float64)
    focal = torch.full((2,), focal_px, dtype=torch.float64)
    return Camera(rotation.double(), position_m.double(), focal, size / 2, size)


def _shot(name: str, points: Tensor, layout: Layout, camera: Camera, fps: float, poses_m: np.ndarray) -> Shot:
    width, height = (int(v) for v in camera.size_px.tolist())
    focal = camera.focal_px.mean().item()
    return Shot(name, points.float().numpy(), layout, (width, height), focal, float(fps), poses_m)
