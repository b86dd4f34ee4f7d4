"""Pinhole cameras: from the world to pixels and back, four virtual cameras for a motion clip, and a model of
the noise of a 2D keypoint detector.

Axes: the world's z is up and its unit the metre; a camera's x is right, y down and z forward; pixels count
from the image's top-left corner, x first.

Shape legend: ``b`` cameras, ``t`` frames, ``j`` joints.  Points are (..., 3) or (..., 2).  A
:class:`Camera` may be a stack of cameras: its leading dimensions are then the first of the points', so that
cameras (b,) take points (b, t, j, 3), and size 1 broadcasts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moga_st.config import BadInput, Config
from moga_st.data.moving_mnist import uniform
from moga_st.data.skeleton import MIRROR, PARTS


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera, or a stack of them along leading dimensions."""

    rotation: Tensor  # (..., 3, 3) R, world to camera: its rows are the camera's axes in the world
    position_m: Tensor  # (..., 3) C, the camera's place in the world: x_camera = R (x_world - C)
    focal_px: Tensor  # (..., 2)
    centre_px: Tensor  # (..., 2) principal point
    size_px: Tensor  # (..., 2) width, height
    radial: Tensor | None = None  # (..., 3) k1, k2, k3 of r^2, r^4, r^6
    tangential: Tensor | None = None  # (..., 2) added along x and y: (p2, p1) of OpenCV and of Human3.6M's own file

    def __post_init__(self) -> None:
        lead = self.rotation.shape[:-2]
        wanted = {"rotation": (3, 3), "position_m": (3,), "radial": (3,)}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            shape = lead + wanted.get(field.name, (2,))
            if value is not None and value.shape != shape:
                raise BadInput(f"Camera.{field.name}: expected shape {tuple(shape)}, got {tuple(value.shape)}")
        r = self.rotation.double()
        eye = torch.eye(3, dtype=r.dtype, device=r.device)
        if not (torch.allclose(r @ r.mT, eye.expand_as(r), atol=1e-4) and bool((torch.linalg.det(r) > 0).all())):
            raise BadInput(
                "Camera.rotation: not a rotation matrix; give R of x_camera = R (x_world - position), with "
                "orthonormal rows and determinant +1"
            )

    def to(self, device: torch.device | str) -> Camera:
        """The camera on another device."""
        return self._each(lambda value: value.to(device))

    def __getitem__(self, index: int | slice | Tensor) -> Camera:
        """One camera, or some, of a stack."""
        return self._each(lambda value: value[index])

    def _each(self, f: Callable[[Tensor], Tensor]) -> Camera:
        lens = [None if value is None else f(value) for value in (self.radial, self.tangential)]
        return Camera(f(self.rotation), f(self.position_m), f(self.focal_px), f(self.centre_px), f(self.size_px), *lens)


def stack(cameras: Sequence[Camera]) -> Camera:
    """Cameras of one shape as one of a new first dimension.

    Raises:
        BadInput: some have lens distortion and others none.
    """
    columns = list(zip(*(tuple(vars(camera).values()) for camera in cameras), strict=True))
    if any(any(v is None for v in column) and any(v is not None for v in column) for column in columns):
        raise BadInput("cameras with and without lens distortion cannot be stacked; give the others zeros")
    return Camera(*(None if column[0] is None else torch.stack(column) for column in columns))  # type: ignore[arg-type]


def world_to_camera(points_m: Tensor, camera: Camera) -> Tensor:
    """(..., 3) in the world -> (..., 3) in the camera, both in metres."""
    offset = points_m - _fit(camera.position_m, points_m)
    # sums of products and no matrix product, which a GPU may be allowed to round to ten bits (TF32)
    return (_fit(camera.rotation, points_m, 2) * offset[..., None, :]).sum(-1)


def camera_to_world(points_m: Tensor, camera: Camera) -> Tensor:
    """The inverse of :func:`world_to_camera`."""
    turned = (_fit(camera.rotation, points_m, 2) * points_m[..., :, None]).sum(-2)
    return turned + _fit(camera.position_m, points_m)


def project(points_m: Tensor, camera: Camera) -> Tensor:
    """(..., 3) in camera coordinates -> (..., 2) pixels.

    With u = (x/z, y/z) and r^2 = |u|^2, a lens with distortion moves u to
    u (1 + k1 r^2 + k2 r^4 + k3 r^6 + p.u) + p r^2, Human3.6M's convention in VideoPose3D's notation: without
    the factor 2 that OpenCV has in the tangential term, and p = (along x, along y), the other way round than
    in Human3.6M's own camera file.  Points behind the camera (z <= 0) have no image; the caller keeps them
    out.
    """
    u = points_m[..., :2] / points_m[..., 2:]
    r2 = u.square().sum(-1, keepdim=True)
    bend, shift = 1.0, 0.0
    if camera.radial is not None:
        k = _fit(camera.radial, points_m)
        bend = 1 + r2 * (k[..., 0:1] + r2 * (k[..., 1:2] + r2 * k[..., 2:3]))
    if camera.tangential is not None:
        p = _fit(camera.tangential, points_m)
        bend, shift = bend + (p * u).sum(-1, keepdim=True), p * r2
    return (u * bend + shift) * _fit(camera.focal_px, points_m) + _fit(camera.centre_px, points_m)


def normalise_screen(points_px: Tensor, size_px: Tensor) -> Tensor:
    """Pixels -> screen coordinates: x in [-1, 1] across the image's width, y on the same scale, 0 in the middle.

    (..., 2), or (..., 3) whose third channel, confidence, is left alone; ``size_px`` is a camera's (width,
    height), whose leading dimensions align as a camera's do.
    """
    size = _fit(size_px, points_px)
    xy = points_px[..., :2] / size[..., :1] * 2 - size / size[..., :1]
    return torch.cat([xy, points_px[..., 2:]], dim=-1)


def denormalise_screen(points: Tensor, size_px: Tensor) -> Tensor:
    """The inverse of :func:`normalise_screen`."""
    size = _fit(size_px, points)
    return torch.cat([(points[..., :2] * size[..., :1] + size) / 2, points[..., 2:]], dim=-1)


def _fit(value: Tensor, points: Tensor, own: int = 1) -> Tensor:
    """A camera's value in the points' dtype and device, ones put between its leading and its ``own`` last dims."""
    lead, gap = value.shape[: value.ndim - own], points.ndim - 1 - (value.ndim - own)
    if gap < 0:
        raise BadInput(f"points of shape {tuple(points.shape)} cannot be seen by cameras stacked as {tuple(lead)}")
    return value.to(points).view(*lead, *[1] * gap, *value.shape[value.ndim - own :])


# ---------------------------------------------------------------------------------------------------------
# virtual cameras

CAMERAS = 4
IMAGE_PX = 1000
FOCAL_PX = 1145.0
MARGIN_PX = 20.0
"""No joint of a clip comes nearer than this to an image's edge."""


def named_uniform(name: str, rows: int, columns: int) -> Tensor:
    """Uniform numbers (rows, columns) float64 in [0, 1) that belong to a name, the same on every machine:
    SHA-256 of the name seeds the counter-based generator of :mod:`moga_st.data.moving_mnist`."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little", signed=True)
    return uniform(seed, torch.arange(rows), columns)


def virtual_cameras(clip: str, world_m: Tensor) -> Camera:
    """Four Human3.6M-like cameras around a clip: poses (t, 17, 3) in the world -> a stack of 4, float64.

    They stand 90 degrees apart, turned together by a random angle and each by up to 15 degrees more, 1.3 to
    1.7 m above the ground (z = 0), and look, without roll, at a point within 0.3 m (0.15 m in height) of the
    middle of the space the joints take up.  The distance in the ground plane from a camera to the nearest
    place of the hip is 4 to 6 m; where some joint would not be in view, or nearer than :data:`MARGIN_PX` to
    the edge, the camera moves straight back in steps of 0.1 m until all are.  Images are 1000 x 1000 px, the
    focal length 1140 to 1150 px, the principal point within 15 px of the middle, without distortion.

    All draws come from the clip's name alone, so everyone who has the clip has the same cameras.

    Raises:
        BadInput: no frames, wrong shape, or values that are not finite.
    """
    if world_m.ndim != 3 or world_m.shape[-1] != 3 or not len(world_m) or not world_m.isfinite().all():
        raise BadInput(f"{clip}: cameras need finite poses (t, 17, 3) in metres, got {tuple(world_m.shape)}")
    points = world_m.double().cpu()
    draws = named_uniform(f"moga_st camera {clip}", CAMERAS + 1, 9)
    u = draws[1:] * 2 - 1  # of each camera, in [-1, 1)
    low, high = points.amin((0, 1)), points.amax((0, 1))
    target = (low + high) / 2 + u[:, :3] * torch.tensor([0.3, 0.3, 0.15], dtype=torch.float64)  # (b, 3)
    angle = 2 * torch.pi * (draws[0, 0] + torch.arange(CAMERAS) / CAMERAS) + u[:, 3] * (torch.pi / 12)
    outwards = torch.stack([angle.cos(), angle.sin()], dim=-1)  # (b, 2)
    height = 1.5 + 0.2 * u[:, 4]
    focal = (FOCAL_PX + 5 * u[:, 5:6]).expand(-1, 2)
    centre = IMAGE_PX / 2 + 15 * u[:, 6:8]
    size = torch.full((CAMERAS, 2), float(IMAGE_PX), dtype=torch.float64)

    # walking back from the target, the last place at which the hip's path is still `nearest` away
    nearest = 5 + u[:, 8:9]
    hip = points[:, 0, :2] - target[:, None, :2]  # (b, t, 2)
    along = (hip * outwards[:, None]).sum(-1)
    across = hip.square().sum(-1) - along.square()
    back = torch.where(across < nearest**2, along + (nearest**2 - across).clamp(min=0).sqrt(), 0.0).amax(1)

    while True:
        place = torch.cat([target[:, :2] + back[:, None] * outwards, height[:, None]], dim=-1)
        camera = Camera(_look(target - place), place, focal, centre, size)
        seen = world_to_camera(points[None], camera)
        image = project(seen, camera)
        inside = (seen[..., 2] > 0) & ((image - IMAGE_PX / 2).abs().amax(-1) <= IMAGE_PX / 2 - MARGIN_PX)
        inside = inside.flatten(1).all(1)
        if inside.all():
            return camera
        back = back + 0.1 * ~inside


def _look(direction: Tensor) -> Tensor:
    """World-to-camera rotations (b, 3, 3), without roll, of cameras that look along (b, 3)."""
    forward = direction / direction.norm(dim=-1, keepdim=True)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=direction.dtype).expand_as(forward)
    right = torch.linalg.cross(forward, up)
    right = right / right.norm(dim=-1, keepdim=True)
    return torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-2)


# ---------------------------------------------------------------------------------------------------------
# detector noise

LIMBS = tuple(joints for name, joints in PARTS.items() if name.startswith("left"))

# How hard a joint is to find, relative to the others: limbs' ends are, the trunk is easy.
_HARDNESS = (0.8, 0.9, 1.0, 1.3, 0.9, 1.0, 1.3, 0.8, 0.7, 0.7, 0.8, 0.8, 1.1, 1.5, 0.8, 1.1, 1.5)


@dataclass(frozen=True)
class DetectorNoise(Config):
    """What a 2D detector does to keypoints. A model of our own, its sizes chosen to resemble a good detector
    and not fitted to any: quote it by its values.

    Lengths are fractions of the person's box (the longer side of the frame's keypoints), because a detector
    sees a crop: 0.01 is 3 px in the median view of a virtual camera, whose box is 300 px.
    """

    jitter: float = 0.01
    """Standard deviation of a keypoint's x and y, before the joint's hardness (0.7 trunk to 1.5 wrist)."""
    memory: float = 0.8
    """Correlation of the jitter from frame to frame at 50 fps (first-order autoregression)."""
    outliers: float = 0.005
    """Fraction of keypoints that are somewhere else, up to :attr:`outlier_reach` away."""
    outlier_reach: float = 0.3
    swaps: float = 0.005
    """Fraction of frames in which a leg, or an arm, is taken for the other one."""
    event_frames: int = 5
    """Frames that an outlier or a swap lasts."""
    confidence_spread: float = 0.03
    """The error at which confidence has fallen to 0.61 (a Gaussian's one sigma)."""


def detect(keypoints_px: Tensor, clip: str, camera: int, seed: int, noise: DetectorNoise) -> Tensor:
    """Exact keypoints as a detector would give them: (t, 17, 2) -> (t, 17, 3) with confidence in (0, 1].

    A pure function of its arguments: the noise belongs to (clip, camera, seed).  Confidence falls with the
    error and varies by a tenth by itself; of left and right taken for each other it knows nothing, as with
    real detectors.

    Raises:
        BadInput: another shape, or noise parameters out of range.
    """
    t = len(keypoints_px)
    if keypoints_px.shape != (t, 17, 2) or t == 0:
        raise BadInput(f"{clip}: expected keypoints (t, 17, 2) in pixels, got {tuple(keypoints_px.shape)}")
    if not (0 <= noise.memory < 1 and noise.event_frames > 0 and noise.confidence_spread > 0):
        raise BadInput("DetectorNoise: memory must be in [0, 1), event_frames and confidence_spread above 0")
    draws = named_uniform(f"moga_st detector {clip} {camera} {seed}", t, 17 * 6).view(t, 17, 6)
    swap_draws = named_uniform(f"moga_st swaps {clip} {camera} {seed}", t, len(LIMBS))
    exact = keypoints_px.double().cpu()
    box = (exact.amax(1) - exact.amin(1)).amax(-1)[:, None, None]  # (t, 1, 1)

    # Box and Muller's normal numbers; 1 - u is in (0, 1]
    normal = (-2 * (1 - draws[..., 0]).log()).sqrt()[..., None] * _direction(draws[..., 1])
    drift = [normal[0]]
    for step in normal[1:] * math.sqrt(1 - noise.memory**2):
        drift.append(noise.memory * drift[-1] + step)
    hardness = torch.tensor(_HARDNESS, dtype=torch.float64)[:, None]
    error = noise.jitter * hardness * torch.stack(drift)

    start = _last_start(draws[..., 2], noise.outliers, noise.event_frames)
    chosen = start.clamp(min=0)  # an outlier stays where it began: the draws of its first frame
    away = noise.outlier_reach * draws[..., 3].gather(0, chosen).sqrt()  # uniform on a disc
    jump = away[..., None] * _direction(draws[..., 4].gather(0, chosen))
    error = error + torch.where(start[..., None] >= 0, jump, 0.0)

    distance = error.norm(dim=-1, keepdim=True) / noise.confidence_spread
    confidence = (-distance.square() / 2).exp() * (1 - 0.1 * draws[..., 5:])
    out = torch.cat([exact + error * box, confidence.clamp(min=1e-3)], dim=-1)
    swapped = _last_start(swap_draws, noise.swaps, noise.event_frames) >= 0
    for i, left in enumerate(LIMBS):
        limb = [*left, *(MIRROR[joint] for joint in left)]
        other = [MIRROR[joint] for joint in limb]
        out[:, limb] = torch.where(swapped[:, i, None, None], out[:, other], out[:, limb])
    return out.to(keypoints_px)


def _direction(u: Tensor) -> Tensor:
    return torch.stack([(2 * torch.pi * u).cos(), (2 * torch.pi * u).sin()], dim=-1)


def _last_start(u: Tensor, fraction: float, frames: int) -> Tensor:
    """Events of ``frames`` frames that fill a fraction of the time: uniform (t, ...) -> the frame (t, ...) at
    which the event going on began, or -1."""
    begin = 1 - (1 - fraction) ** (1 / frames)  # a frame is free if none began at it or just before
    frame = torch.arange(len(u)).view(-1, *[1] * (u.ndim - 1)).expand_as(u)
    last = torch.where(u < begin, frame, -frames).cummax(0).values
    return torch.where(frame - last < frames, last, -1)
