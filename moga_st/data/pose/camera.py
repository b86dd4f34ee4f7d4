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
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moga_st.errors import BadInput


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
