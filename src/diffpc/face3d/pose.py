"""Head rotations: angles that people name, and the axis-angle vectors that the models take.

World frame: x to the image's right, y up, z to the viewer. Degrees, frontal = 0:
yaw > 0 turns the face to the image's right, pitch > 0 looks up, roll > 0 tilts it clockwise in the image.
R = Rz(-roll) Ry(yaw) Rx(-pitch): the head nods first, then turns, then tilts in the image plane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffpc.face3d.flame import axis_angle_to_matrix

_SMALL_ANGLE = 1e-6


@dataclass(frozen=True)
class Angles:
    """A head's rotation in degrees; the signs are those of this module."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0


def rotation_from(angles: Angles) -> Float[Tensor, " 3"]:
    """Axis-angle, radians, float32."""
    yaw, pitch, roll = (math.radians(value) for value in (angles.yaw, angles.pitch, angles.roll))
    turns = torch.tensor([[0.0, 0.0, -roll], [0.0, yaw, 0.0], [-pitch, 0.0, 0.0]], dtype=torch.float64)
    tilt, turn, nod = axis_angle_to_matrix(turns)
    return matrix_to_axis_angle(tilt @ turn @ nod).float()


def euler_degrees(rotation: Float[Tensor, " 3"]) -> Angles:
    """The inverse of `rotation_from`, for yaw within +-90 degrees; an axis-angle vector in radians."""
    return matrix_angles(axis_angle_to_matrix(rotation.double()))


def matrix_angles(matrix: Float[Tensor, "3 3"]) -> Angles:
    """The angles of a rotation matrix."""
    # R = Rz(a) Ry(b) Rx(c): the first column is (cos a cos b, sin a cos b, -sin b), the last row ends in
    # (cos b sin c, cos b cos c).
    a = math.atan2(matrix[1, 0], matrix[0, 0])
    b = math.asin(max(-1.0, min(1.0, -float(matrix[2, 0]))))
    c = math.atan2(matrix[2, 1], matrix[2, 2])
    return Angles(yaw=math.degrees(b), pitch=-math.degrees(c), roll=-math.degrees(a))


def matrix_to_axis_angle(matrix: Float[Tensor, "3 3"]) -> Float[Tensor, " 3"]:
    """The logarithm of a rotation, radians; the angle is in [0, pi]."""
    skew = torch.stack(
        [matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]
    )
    sine, cosine = float(skew.norm()) / 2, (float(matrix.trace()) - 1) / 2
    angle = math.atan2(sine, cosine)
    if sine > _SMALL_ANGLE:
        return skew * (angle / (2 * sine))
    if cosine > 0:
        return skew / 2
    # Half a turn: R + I = 2 n n^T, read the axis off its largest column.
    outer = matrix + torch.eye(3, dtype=matrix.dtype)
    column = outer[:, int(outer.diagonal().argmax())]
    return column / column.norm() * angle


def tilted(rotation: Float[Tensor, " 3"], degrees: float) -> Float[Tensor, " 3"]:
    """The rotation followed by a clockwise tilt of `degrees` in the image plane."""
    tilt = axis_angle_to_matrix(torch.tensor([0.0, 0.0, -math.radians(degrees)], dtype=torch.float64))
    return matrix_to_axis_angle(tilt @ axis_angle_to_matrix(rotation.double())).to(rotation)


def rotation_distance(first: Float[Tensor, " 3"], second: Float[Tensor, " 3"]) -> float:
    """The angle of the rotation that takes one into the other, radians in [0, pi]."""
    one, other = axis_angle_to_matrix(first.double()), axis_angle_to_matrix(second.double())
    return float(matrix_to_axis_angle(one.T @ other).norm())
