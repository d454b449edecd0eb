import numpy as np
import pytest
import torch

from diffpc.errors import UsageError
from diffpc.faces.align import align, eye_centres
from diffpc.faces.embed import cosine_similarity, embed_faces, load_embedder, normalise
from diffpc.images import read_image
from diffpc.types import Face


def as_tensor(image):
    return torch.tensor(image).permute(2, 0, 1)[None].float() / 127.5 - 1


def test_normalised_vectors_have_length_one():
    vectors = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    assert torch.allclose(normalise(vectors), torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
    assert torch.allclose(cosine_similarity(vectors[0], vectors[1]), torch.tensor(-0.8))


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(UsageError, match="arcface, dlib"):
        load_embedder("facenet")


def test_photo_and_tensor_paths_agree(embedder, astronaut, astronaut_face):
    from_photo = embed_faces(embedder, astronaut, [astronaut_face])
    points = torch.from_numpy(astronaut_face.landmarks)[None]
    from_tensor = embedder.embed(as_tensor(astronaut), points, astronaut_face.layout)
    assert (from_photo - from_tensor).norm() < 0.02


def test_no_faces_give_no_vectors(embedder, astronaut):
    assert embed_faces(embedder, astronaut, []).shape == (0, 128)


def test_gradients_reach_the_photo_only_at_the_face(embedder, astronaut, astronaut_face):
    image = as_tensor(astronaut).requires_grad_()
    points = torch.from_numpy(astronaut_face.landmarks)[None]
    embedder.embed(image, points, astronaut_face.layout).sum().backward()
    x0, y0, x1, y1 = (int(value) for value in astronaut_face.box)
    assert image.grad[0, :, y0:y1, x0:x1].abs().mean() > 0
    assert image.grad[0, :, 300:].abs().max() == 0


def test_either_layout_finds_the_same_person(embedder, astronaut, astronaut_face):
    # the other layout's points of this photo, read off it by eye
    eyes = eye_centres(astronaut_face.landmarks, astronaut_face.layout)
    across = eyes[1] - eyes[0]
    down = np.array([-across[1], across[0]])
    centre = eyes.mean(0)
    points = [eyes[0], eyes[1], centre + 0.6 * down, centre - 0.42 * across + 1.12 * down]
    points.append(centre + 0.42 * across + 1.12 * down)
    other = Face(astronaut_face.box, np.stack(points), "eyes_nose_mouth", 1.0)
    first, second = embed_faces(embedder, astronaut, [astronaut_face, other])
    assert (first - second).norm() < 0.3


def test_press_photos_of_a_person_are_closer_than_those_of_others(embedder, detector, lfw):
    images = [read_image(path) for pair in lfw for path in pair]
    chips = np.stack([align(image, detector(image)[0], embedder.template).pixels for image in images])
    vectors = embedder.embed_chips(torch.from_numpy(chips).permute(0, 3, 1, 2).float() / 127.5 - 1)
    vectors = vectors.view(len(lfw), 2, -1)
    same = (vectors[:, 0] - vectors[:, 1]).norm(dim=1)
    others = torch.cdist(vectors[:, 0], vectors[:, 1])[~torch.eye(len(lfw), dtype=torch.bool)]
    assert same.max() < embedder.metric.threshold < others.min()
