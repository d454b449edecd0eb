"""FLAME: shape, expression, pose and eyelids -> vertices, and SMIRK's camera.

Linear blend skinning after Li et al. 2017 (FLAME) and Loper et al. 2015 (SMPL), written from the papers; the
quirks that SMIRK's weights were trained with (georgeretsi/smirk @ c7de404, `src/FLAME`) are marked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

CAMERA_DISTANCE = 10.0
"""Added to z after projection: keeps every vertex before the camera; weak perspective does not see it."""

_GLOBAL, _JAW = 0, 2
_ROTATION_EPSILON = 1e-8


@dataclass(frozen=True)
class FlameData:
    """A FLAME head with V vertices, F faces and J joints (global, neck, jaw, two eyes). float32, metres."""

    template: Float[Tensor, "V 3"]
    """The mean face: x to its left, y up, z forwards."""
    shape_basis: Float[Tensor, "V 3 shape"]
    expression_basis: Float[Tensor, "V 3 expression"]
    pose_basis: Float[Tensor, "V 3 pose"]
    """Correctives, by the 9 * (J - 1) elements of (rotation matrix - I) of all joints but the first."""
    eyelid_basis: Float[Tensor, "2 V 3"]
    """Left, right."""
    joint_regressor: Float[Tensor, "J V"]
    skinning: Float[Tensor, "V J"]
    parents: Int[Tensor, " J"]
    """int32; -1 for the root, each other joint's parent comes before it."""
    faces: Int[Tensor, "F 3"]
    """int32."""
    face_vertices: Int[Tensor, " N"]
    """int32, ascending: the `face` mask, without ears, neck, eyeballs and most of the scalp."""


class FlameLayer(nn.Module):
    """FLAME as a layer without trainable parameters; differentiable in all its inputs."""

    template: Tensor
    shape_basis: Tensor
    expression_basis: Tensor
    pose_basis: Tensor
    eyelid_basis: Tensor
    joint_template: Tensor
    joint_shape_basis: Tensor
    joint_expression_basis: Tensor
    skinning: Tensor
    faces: Tensor

    def __init__(self, data: FlameData, kept: Int[Tensor, " N"] | None = None) -> None:
        """kept: the vertices to compute, e.g. `data.face_vertices`; by default all."""
        super().__init__()
        kept = torch.arange(len(data.template)) if kept is None else kept.long()
        self.parents: list[int] = data.parents.tolist()
        # The joints depend on all vertices, but linearly: no need to compute those that are not kept.
        joints = data.joint_regressor
        buffers = {
            "template": data.template[kept],
            "shape_basis": data.shape_basis[kept],
            "expression_basis": data.expression_basis[kept],
            "pose_basis": data.pose_basis[kept],
            "eyelid_basis": data.eyelid_basis[:, kept],
            "joint_template": joints @ data.template,
            "joint_shape_basis": torch.einsum("jv,vcs->jcs", joints, data.shape_basis),
            "joint_expression_basis": torch.einsum("jv,vcs->jcs", joints, data.expression_basis),
            "skinning": data.skinning[kept],
            "faces": restrict_faces(data.faces, kept),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def forward(
        self,
        shape: Float[Tensor, "B shape"],
        expression: Float[Tensor, "B expression"],
        eyelid: Float[Tensor, "B 2"],
        jaw: Float[Tensor, "B 3"],
        rotation: Float[Tensor, "B 3"],
    ) -> Float[Tensor, "B V 3"]:
        """Vertices in the world frame (y up, z towards the camera); neck and eyes at rest, as in SMIRK.

        jaw and rotation: axis-angle in radians. SMIRK adds the eyelids after skinning: they stay unrotated.
        """
        pose = rotation.new_zeros(len(rotation), len(self.parents), 3)
        pose[:, _GLOBAL] = rotation
        pose[:, _JAW] = jaw
        vertices = self.articulate(shape, expression, pose)
        return vertices + torch.einsum("be,evc->bvc", eyelid, self.eyelid_basis)

    def articulate(
        self,
        shape: Float[Tensor, "B shape"],
        expression: Float[Tensor, "B expression"],
        pose: Float[Tensor, "B J 3"],
    ) -> Float[Tensor, "B V 3"]:
        """Vertices without eyelids, every joint turned by its axis-angle relative to its parent."""
        rotations = axis_angle_to_matrix(pose)
        bent = rotations[:, 1:] - torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        vertices = self.template + _blend(self.shape_basis, shape) + _blend(self.expression_basis, expression)
        vertices = vertices + _blend(self.pose_basis, bent.flatten(1))
        joints = (
            self.joint_template
            + _blend(self.joint_shape_basis, shape)
            + _blend(self.joint_expression_basis, expression)
        )
        turns, shifts = self._chain(rotations, joints)
        turn = torch.einsum("vj,bjrc->bvrc", self.skinning, turns)
        shift = torch.einsum("vj,bjr->bvr", self.skinning, shifts)
        return torch.einsum("bvrc,bvc->bvr", turn, vertices) + shift

    def _chain(self, rotations: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Each joint's rigid motion from the rest pose: matrices (B, J, 3, 3) and translations (B, J, 3)."""
        turns: list[Tensor] = []
        places: list[Tensor] = []
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                turns.append(rotations[:, joint])
                places.append(joints[:, joint])
                continue
            bone = joints[:, joint] - joints[:, parent]
            turns.append(turns[parent] @ rotations[:, joint])
            places.append(places[parent] + _turn(turns[parent], bone))
        turn = torch.stack(turns, dim=1)
        return turn, torch.stack(places, dim=1) - _turn(turn, joints)


def axis_angle_to_matrix(axis_angle: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """Rodrigues' formula, with SMIRK's quirk: the angle is |r + 1e-8|, the axis r / angle.

    So its gradient exists at r = 0.
    """
    angle = (axis_angle + _ROTATION_EPSILON).norm(dim=-1, keepdim=True)
    x, y, z = (axis_angle / angle).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    angle = angle[..., None]
    return (
        torch.eye(3, dtype=cross.dtype, device=cross.device)
        + angle.sin() * cross
        + (1 - angle.cos()) * (cross @ cross)
    )


def project(vertices: Float[Tensor, "B V 3"], camera: Float[Tensor, "B 3"]) -> Float[Tensor, "B V 3"]:
    """World vertices -> the rasteriser's coordinates in the crop: x right, y down, z away from the camera.

    camera: (s, tx, ty): xy = s * (XY + t), z = s * Z; then y and z change sign; z grows by CAMERA_DISTANCE.
    """
    scale, shift = camera[:, None, :1], camera[:, None, 1:]
    xy = scale * (vertices[..., :2] + shift)
    x, y = xy.split(1, dim=-1)
    return torch.cat([x, -y, CAMERA_DISTANCE - scale * vertices[..., 2:]], dim=-1)


def restrict_faces(faces: Int[Tensor, "F 3"], kept: Int[Tensor, " N"]) -> Int[Tensor, "G 3"]:
    """The faces whose three vertices are all kept, int64, numbered by each vertex's place in `kept`."""
    faces, kept = faces.long(), kept.long()
    n_vertices = int(max(faces.max(), kept.max())) + 1
    place = torch.full((n_vertices,), -1, dtype=torch.int64, device=faces.device)
    place[kept] = torch.arange(len(kept), device=faces.device)
    renumbered = place[faces]
    return renumbered[(renumbered >= 0).all(dim=1)]


def _blend(basis: Tensor, coefficients: Tensor) -> Tensor:
    """(N, 3, K) and (B, K) -> (B, N, 3)."""
    return (coefficients @ basis.flatten(0, 1).T).unflatten(1, (-1, 3))


def _turn(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None])[..., 0]
