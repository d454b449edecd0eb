import math

import numpy as np
import pytest
import torch

from diffpc.face3d.flame import FlameData, FlameLayer, axis_angle_to_matrix, project, restrict_faces

V, S, E, J = 17, 4, 3, 5


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    return FlameData(
        template=normal(V, 3),
        shape_basis=normal(V, 3, S),
        expression_basis=normal(V, 3, E),
        pose_basis=0.1 * normal(V, 3, 9 * (J - 1)),
        eyelid_basis=normal(2, V, 3),
        joint_regressor=normal(J, V).softmax(1),
        skinning=normal(V, J).softmax(1),
        parents=torch.tensor([-1, 0, 1, 1, 1], dtype=torch.int32),
        faces=torch.randint(0, V, (20, 3), generator=generator, dtype=torch.int32),
        face_vertices=torch.tensor([0, 2, 3, 5, 8, 9, 12, 16], dtype=torch.int32),
    )


def inputs(batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, width, generator=generator) for width in (S, E, 2, 3, 3)]


def rotation_by_hand(axis_angle):
    """The matrix exponential's series, in float64."""
    x, y, z = axis_angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=np.float64)
    result, term = np.eye(3), np.eye(3)
    for n in range(1, 40):
        term = term @ cross / n
        result = result + term
    return result


def skinning_by_hand(data, shape, expression, pose):
    """One head, vertex after vertex, with homogeneous matrices."""
    d = {name: np.asarray(value, dtype=np.float64) for name, value in vars(data).items()}
    rest = d["template"] + d["shape_basis"] @ shape + d["expression_basis"] @ expression
    joints = d["joint_regressor"] @ rest
    rotations = [rotation_by_hand(r) for r in pose]
    rest = rest + d["pose_basis"] @ np.concatenate([(r - np.eye(3)).ravel() for r in rotations[1:]])
    world = []
    for joint, parent in enumerate(data.parents.tolist()):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] if parent < 0 else joints[joint] - joints[parent]
        world.append(local if parent < 0 else world[parent] @ local)
    posed = []
    for vertex in range(V):
        place = np.zeros(4)
        for joint in range(J):
            relative = np.append(rest[vertex] - joints[joint], 1)
            place += d["skinning"][vertex, joint] * (world[joint] @ relative)
        posed.append(place[:3])
    return np.array(posed)


def test_articulation_agrees_with_an_independent_loop(data):
    shape, expression, *_ = inputs()
    pose = torch.randn(3, J, 3, generator=torch.Generator().manual_seed(9))
    vertices = FlameLayer(data).articulate(shape, expression, pose)
    for head in range(3):
        expected = skinning_by_hand(data, shape[head].numpy(), expression[head].numpy(), pose[head].numpy())
        np.testing.assert_allclose(vertices[head].numpy(), expected, atol=2e-5)


def test_forward_keeps_neck_and_eyes_at_rest_and_adds_the_eyelids_last(data):
    shape, expression, eyelid, jaw, rotation = inputs()
    vertices = FlameLayer(data)(shape, expression, eyelid, jaw, rotation)
    for head in range(3):
        pose = np.zeros((J, 3))
        pose[0], pose[2] = rotation[head], jaw[head]
        expected = skinning_by_hand(data, shape[head].numpy(), expression[head].numpy(), pose)
        left, right = data.eyelid_basis.numpy()
        expected = expected + float(eyelid[head, 0]) * left + float(eyelid[head, 1]) * right
        np.testing.assert_allclose(vertices[head].numpy(), expected, atol=2e-5)


def test_eyelid_offsets_do_not_turn_with_the_head(data):
    shape, expression, eyelid, jaw, rotation = inputs()
    layer = FlameLayer(data)
    for turn in (torch.zeros_like(rotation), rotation):
        closed = layer(shape, expression, eyelid, jaw, turn)
        opened = layer(shape, expression, torch.zeros_like(eyelid), jaw, turn)
        expected = torch.einsum("be,evc->bvc", eyelid, data.eyelid_basis)
        torch.testing.assert_close(closed - opened, expected, atol=1e-5, rtol=1e-5)


def test_rest_is_the_template(data):
    vertices = FlameLayer(data)(*(torch.zeros(1, width) for width in (S, E, 2, 3, 3)))
    torch.testing.assert_close(vertices[0], data.template, atol=1e-5, rtol=1e-5)


def test_global_rotation_turns_the_head_about_the_first_joint(data):
    quarter = torch.tensor([[0.0, math.pi / 2, 0.0]])
    zeros = [torch.zeros(1, width) for width in (S, E, 2, 3)]
    vertices = FlameLayer(data)(*zeros, quarter)[0]
    joint = data.joint_regressor[0] @ data.template
    offset = data.template - joint
    # A quarter turn about y takes (x, y, z) to (z, y, -x).
    expected = joint + torch.stack([offset[:, 2], offset[:, 1], -offset[:, 0]], dim=1)
    torch.testing.assert_close(vertices, expected, atol=1e-5, rtol=1e-5)


def test_kept_vertices_are_those_of_the_whole_head(data):
    arguments = inputs()
    whole = FlameLayer(data)(*arguments)
    face = FlameLayer(data, kept=data.face_vertices)
    torch.testing.assert_close(face(*arguments), whole[:, data.face_vertices.long()], atol=1e-6, rtol=1e-5)
    assert torch.equal(face.faces, restrict_faces(data.faces, data.face_vertices))


def test_faces_are_kept_only_with_all_their_vertices():
    faces = torch.tensor([[0, 1, 2], [1, 2, 3], [4, 2, 0]])
    assert restrict_faces(faces, torch.tensor([0, 2, 4])).tolist() == [[2, 1, 0]]
    assert restrict_faces(faces, torch.arange(5)).tolist() == faces.tolist()


@pytest.mark.parametrize(
    ("axis_angle", "expected"),
    [
        ([0.0, 0.0, 0.0], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ([math.pi / 2, 0.0, 0.0], [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
        ([0.0, math.pi / 2, 0.0], [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
        ([0.0, 0.0, math.pi], [[-1, 0, 0], [0, -1, 0], [0, 0, 1]]),
    ],
)
def test_rotations_by_hand(axis_angle, expected):
    matrix = axis_angle_to_matrix(torch.tensor(axis_angle))
    torch.testing.assert_close(matrix, torch.tensor(expected, dtype=torch.float32), atol=1e-6, rtol=0)


def test_rotation_has_smirks_quirk():
    """With a huge epsilon's worth of angle left, in float64: |r + 1e-8| differs from |r|."""
    r = torch.tensor([1e-8, 0.0, 0.0], dtype=torch.float64)
    angle = math.sqrt((2e-8) ** 2 + 2 * (1e-8) ** 2)
    assert axis_angle_to_matrix(r)[2, 1].item() == pytest.approx(math.sin(angle) * 1e-8 / angle, rel=1e-12)
    assert axis_angle_to_matrix(r)[1, 1].item() == pytest.approx(1)


def test_gradients_are_finite_at_rest_and_reach_every_input(data):
    arguments = [torch.zeros(2, width, requires_grad=True) for width in (S, E, 2, 3, 3)]
    vertices = FlameLayer(data)(*arguments)
    (vertices * torch.randn(vertices.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    for argument in arguments:
        assert argument.grad.isfinite().all()
        assert argument.grad.abs().min() > 0


def test_gradient_is_the_derivative(data):
    layer = FlameLayer(data).double()
    arguments = [value.double().requires_grad_() for value in inputs(batch=1)]
    assert torch.autograd.gradcheck(layer, arguments)


def test_projection_by_hand():
    vertices = torch.tensor([[[0.1, 0.2, 0.3], [0.0, 0.0, 0.0]]])
    camera = torch.tensor([[8.0, 0.01, -0.02]])
    expected = torch.tensor([[[0.88, -1.44, 7.6], [0.08, 0.16, 10.0]]])
    torch.testing.assert_close(project(vertices, camera), expected)
