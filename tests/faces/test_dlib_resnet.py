import numpy as np
import pytest
import torch

from diffpc.errors import InputError
from diffpc.faces.align import DLIB_150, align
from diffpc.faces.assets import dlib_model
from diffpc.faces.dlib_resnet import DlibFaceResNet, DlibResNetSettings, ResolutionLevel, add_zero_padded
from diffpc.images import read_image

FILE = "dlib_face_recognition_resnet_model_v1.dat"


@pytest.fixture(scope="module")
def oracle(embedder):
    dlib = pytest.importorskip("dlib")
    return dlib.face_recognition_model_v1(str(dlib_model(FILE)))


def chip_of(image, detector):
    return align(image, detector(image)[0], DLIB_150).pixels


def as_batch(*chips):
    return torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_missing_rows_columns_and_channels_count_as_zero():
    first = torch.ones(1, 1, 2, 3)
    second = 2 * torch.ones(1, 2, 3, 2)
    expected = torch.tensor([[[3, 3, 1], [3, 3, 1], [2, 2, 0]], [[2, 2, 0], [2, 2, 0], [2, 2, 0]]]).float()
    assert torch.equal(add_zero_padded(first, second)[0], expected)


def test_embeddings_are_dlibs(embedder, oracle, detector, astronaut):
    chips = [chip_of(astronaut, detector), astronaut[:150, 150:300], astronaut[200:350, 100:250]]
    theirs = torch.tensor(np.stack([oracle.compute_face_descriptor(np.ascontiguousarray(c)) for c in chips]))
    ours = embedder.embed_chips(as_batch(*chips))
    assert torch.allclose(ours, theirs.float(), atol=1e-5)


def test_embeddings_are_dlibs_on_press_photos(embedder, oracle, detector, lfw):
    for first, _ in lfw:
        chip = chip_of(read_image(first), detector)
        theirs = torch.tensor(list(oracle.compute_face_descriptor(chip)))
        ours = embedder.embed_chips(as_batch(chip))[0]
        assert torch.cosine_similarity(ours, theirs, dim=0) > 0.9999


def test_level_maps_have_the_stated_shapes(embedder):
    maps = embedder.network.features(torch.zeros(2, 3, 150, 150))
    assert [tuple(level.shape) for level in maps] == [
        (2, 32, 35, 35),
        (2, 64, 17, 17),
        (2, 128, 8, 8),
        (2, 256, 4, 4),
        (2, 256, 2, 2),
    ]


def test_a_batch_gives_what_its_members_give(embedder):
    chips = torch.rand(3, 3, 150, 150, generator=torch.Generator().manual_seed(0)) * 2 - 1
    single = torch.cat([embedder.embed_chips(chip[None]) for chip in chips])
    assert torch.allclose(embedder.embed_chips(chips), single, atol=1e-5)


def test_the_gradient_is_the_derivative():
    levels = (ResolutionLevel(4, 1, False), ResolutionLevel(6, 2, True))
    torch.manual_seed(0)
    network = DlibFaceResNet(DlibResNetSettings(stem_width=4, levels=levels, dimension=5)).double()
    chips = torch.rand(1, 3, 31, 31, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(network, (chips,), fast_mode=True)


def test_the_released_network_passes_gradients_and_is_frozen(embedder):
    chips = torch.zeros(1, 3, 150, 150, requires_grad=True)
    embedder.embed_chips(chips).square().sum().backward()
    assert chips.grad.isfinite().all()
    assert chips.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in embedder.network.parameters())
    assert not embedder.network.training


def test_another_architecture_is_refused(embedder, tmp_path, monkeypatch):
    from diffpc.faces import dlib_resnet

    levels = (ResolutionLevel(32, 3, False),)
    monkeypatch.setattr(
        dlib_resnet, "DlibResNetSettings", lambda mean: DlibResNetSettings(mean=mean, levels=levels)
    )
    with pytest.raises(InputError, match="29 convolutions, expected 7"):
        dlib_resnet.load_dlib_resnet(dlib_model(FILE))
