import numpy as np
import pytest
import torch

from diffpc.face3d.encoder import EncoderOutput
from diffpc.face3d.framing import square_for_points
from diffpc.face3d.light import LightFaceModel, load_light_data
from tools.face3d.augment import CHANGES
from tools.face3d.basis import mirror_pairs
from tools.face3d.samples import Batch, Photos, labels_in, mirror_of, mirrored, sample
from tools.face3d.train_predictor import (
    Schedule,
    encoder_settings,
    losses,
    new_encoder,
    order,
    vertex_weights,
)


@pytest.fixture(scope="module")
def model() -> LightFaceModel:
    return LightFaceModel(load_light_data())


@pytest.fixture(scope="module")
def pairs(model) -> np.ndarray:
    return mirror_pairs(model.mean.numpy())


def one_photo(model: LightFaceModel) -> tuple[Photos, np.ndarray]:
    """A photo with known parameters, and its vertices in photo pixels."""
    random = np.random.default_rng(0)
    shape = random.normal(size=model.sizes.shape).astype(np.float32)
    rotation = np.array([0.1, 0.3, -0.2], np.float32)
    camera = torch.tensor([[60.0, 0.0, 0.0]])
    placed = model(
        torch.from_numpy(shape)[None], model.rest[None], torch.from_numpy(rotation)[None], camera
    ).projected[0, :, :2]
    points = placed.numpy() + np.array([125.0, 120.0])
    roll = np.float32(11.0)
    photos = Photos(
        random.integers(0, 256, (1, 250, 250, 3), dtype=np.uint8),
        shape[None],
        model.rest.numpy()[None],
        rotation[None],
        np.array([60.0], np.float32),
        np.array([[125.0, 120.0]], np.float32),
        np.array([roll]),
        (square_for_points(points, float(roll)),),
    )
    return photos, points


def test_labels_land_on_the_same_pixels_as_the_photo(model):
    photos, points = one_photo(model)
    square = photos.box[0]
    tensors = [
        torch.tensor(np.asarray(value), dtype=torch.float32)[None] for value in labels_in(photos, 0, square)
    ]
    placed = model(*tensors).projected[0, :, :2].numpy()
    pixel = (placed + 1) * (square.resolution / 2) - 0.5
    matrix = square.matrix()
    assert np.abs(pixel - (points @ matrix[:, :2].T + matrix[:, 2])).max() < 1e-3


def test_mirrored_labels_are_the_mirrored_face(model, pairs):
    photos, _ = one_photo(model)
    values = labels_in(photos, 0, photos.box[0])
    flipped = mirrored(values, mirror_of(load_light_data(), pairs))

    def place(values):
        return (
            model(*(torch.tensor(np.asarray(v), dtype=torch.float32)[None] for v in values))
            .projected[0]
            .numpy()
        )

    assert np.abs(place(flipped) - place(values)[pairs] * [-1, 1, 1]).max() < 1e-3


def test_a_sample_follows_its_seed(model, pairs):
    photos, _ = one_photo(model)
    mirror = mirror_of(load_light_data(), pairs)
    first, second = (sample(photos, 0, mirror, 64, np.random.default_rng(3)) for _ in range(2))
    assert first[0].shape == (64, 64, 3) and all(
        np.array_equal(a, b) for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("change", [change for change, _ in CHANGES], ids=lambda change: change.__name__)
def test_a_change_keeps_size_and_input(change, random):
    picture = random.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    before = picture.copy()
    after = change(picture, random)
    assert after.shape == picture.shape and after.dtype == np.uint8
    assert np.array_equal(picture, before) and not np.array_equal(after, before)


def test_the_loss_is_nearly_nothing_at_the_truth(model, pairs):
    zero = torch.zeros(2, model.sizes.shape)
    rest, turn, camera = (
        model.rest.repeat(2, 1),
        torch.zeros(2, 3),
        torch.tensor([[0.8, 0.0, 0.1]]).repeat(2, 1),
    )
    true = Batch(torch.zeros(2, 3, 8, 8), zero, rest, turn, camera)
    empty = torch.zeros(2, 0)
    same = losses(EncoderOutput(zero, rest, empty, empty, turn, camera), true, model, vertex_weights(pairs))
    assert float(same.posed) == pytest.approx(0.1, abs=1e-3)  # the root's own floor
    moved = camera + torch.tensor([0.0, 0.05, 0.0])
    off = losses(EncoderOutput(zero, rest, empty, empty, turn, moved), true, model, vertex_weights(pairs))
    assert float(off.posed) == pytest.approx(5.0, abs=0.01) and float(off.face) == pytest.approx(
        0.1, abs=1e-3
    )


def test_the_schedule():
    schedule = Schedule(images=1000, warm_up=100)
    assert schedule.resolution(0) == 80 and schedule.resolution(750) == 96 and schedule.resolution(1000) == 96
    assert schedule.rate_at(0) < schedule.rate_at(99) and schedule.rate_at(1000) == pytest.approx(
        schedule.rate / 100
    )


def test_order_follows_progress_and_visits_all(model):
    photos, _ = one_photo(model)
    many = Photos(
        *(getattr(photos, name) for name in list(Photos.__dataclass_fields__)[:-1]), box=photos.box * 10
    )
    seen = np.concatenate([order(many, start, 5)[0] for start in (0, 5)])
    assert sorted(seen.tolist()) == list(range(10))
    assert np.array_equal(order(many, 5, 5)[0], seen[5:])


def test_a_new_encoder_starts_at_the_mean_face(model):
    with torch.no_grad():
        found = new_encoder(model).eval()(torch.rand(1, 3, 112, 112))
    assert float(found.camera[0, 0]) == pytest.approx(0.85, abs=0.02) and found.shape.abs().max() == 0
    assert encoder_settings(model).n_jaw == 0
