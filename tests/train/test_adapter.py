import pytest
import torch

from diffpc.diffusion.backbone import Backbone
from diffpc.faces.embed import load_embedder
from diffpc.train.adapter import AdapterData, AdapterTask, AdapterTraining, Networks
from diffpc.train.loop import LoopSettings, Trainer, generator_at
from tests.pipelines import random_pipeline

PERSONS = [0, 0, 0, 1, 1]


def data(crops: int = 6) -> AdapterData:
    """Random targets cut from five photos of two persons."""
    draw = torch.Generator().manual_seed(0)
    corners = torch.tensor([[84.0, 60.0], [72.0, 60.0], [44.0, 60.0], [56.0, 60.0], [64.0, 80.0]])
    return AdapterData(
        latents=torch.randn(crops, 16, 16, 16, generator=draw),
        z_3d=torch.randn(crops, 16, 16, 16, generator=draw),
        captions=torch.randint(1000, (crops, 2, 32), generator=draw),
        landmarks=corners.expand(crops, 5, 2).clone(),
        photo=torch.arange(crops) % len(PERSONS),
        person=torch.tensor(PERSONS),
        vectors=torch.nn.functional.normalize(torch.randn(5, 1, 128, generator=draw), dim=-1),
        patches=torch.randn(5, 64, 133, generator=draw),
        empty=torch.full((32,), 1023),
    )


def task(settings: AdapterTraining | None = None, awake: bool = False) -> AdapterTask:
    """A task on random weights; `awake` gives the zero-initialised injectors some weight."""
    pipeline = random_pipeline()
    networks = Networks(
        id_encoder=pipeline.id_encoder,
        id_ctrl=pipeline.id_ctrl,
        id_injectors=pipeline.id_injectors,
        decoder=pipeline.vae,
        embedder=load_embedder("dlib"),
        layout="eye_corners_nose",
    )
    if awake:
        with torch.no_grad():
            for parameter in pipeline.id_injectors.parameters():
                parameter.add_(0.02)
    base = Backbone(
        pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2, pipeline.unet, pipeline.scheduler
    )
    return AdapterTask(base, networks, data(), settings or AdapterTraining(identity_weight=0.0))


def test_a_reference_is_another_photo_of_the_same_person():
    made = task()
    photos = torch.arange(5).repeat(200)
    references = made._references(photos, torch.Generator().manual_seed(1))
    assert (references != photos).all()
    assert (made.data.person[references] == made.data.person[photos]).all()
    assert set(references[photos == 0].tolist()) == {1, 2}
    assert set(references[photos == 3].tolist()) == {4}


def test_an_untrained_adapter_has_the_base_models_loss():
    made = task()
    with_adapter = made.losses(4, generator_at(0, 0))["total"]
    for parameter in made.networks.id_ctrl.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(with_adapter, made.losses(4, generator_at(0, 0))["total"])


def test_identity_features_are_dropped_at_the_given_rates():
    always = AdapterTraining(global_drop=1.0, local_drop=0.0, identity_drop=0.0)
    vectors, patches = task(always)._features(torch.tensor([0, 3]), torch.Generator())
    assert vectors.abs().sum() == 0
    assert torch.equal(patches, data().patches[[0, 3]])
    nobody = AdapterTraining(global_drop=0.0, local_drop=0.0, identity_drop=1.0)
    vectors, patches = task(nobody)._features(torch.tensor([0]), torch.Generator())
    assert vectors.abs().sum() == 0
    assert patches.abs().sum() == 0


def test_the_identity_loss_alone_moves_id_ctrl():
    """Its gradient passes the frozen embedder, decoder and UNet (method.md, point 15)."""
    made = task(AdapterTraining(identity_weight=1.0, identity_until=999, identity_images=1), awake=True)
    made.losses(1, generator_at(0, 0))["identity"].backward()
    gradients = [parameter.grad for parameter in made.networks.id_ctrl.parameters()]
    assert sum(float(gradient.abs().sum()) for gradient in gradients if gradient is not None) > 0
    assert all(parameter.grad is None for parameter in made.networks.decoder.parameters())


def test_no_identity_loss_where_the_image_is_still_noise():
    made = task(AdapterTraining(identity_weight=0.5, identity_until=-1))
    terms = made.losses(2, generator_at(0, 0))
    assert terms["identity"] == 0
    assert terms["total"] == terms["diffusion"]


@pytest.mark.parametrize("part", ["unet", "text_encoder", "text_encoder_2"])
def test_frozen_parts_are_the_same_bit_for_bit_after_training(part, tmp_path):
    made = task()
    frozen = getattr(made.backbone, part)
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    trained = made.networks.id_injectors.injectors[0].modulation.weight.clone()
    Trainer(made, LoopSettings(images=4, batch=2, learning_rate=1e-2), tmp_path).run(lambda report: None)
    assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items())
    assert not torch.equal(trained, made.networks.id_injectors.injectors[0].modulation.weight)
