from dataclasses import replace

import pytest
import torch
from torch.utils.data import default_collate

from diffpc.diffusion.adapter import Adapter
from diffpc.diffusion.backbone import Backbone
from diffpc.diffusion.control import IDCtrl
from diffpc.faces.embed import load_embedder
from diffpc.train.adapter import AdapterTask, Networks
from diffpc.train.features import skin_latents
from diffpc.train.loop import Trainer
from diffpc.train.objective import Judge
from diffpc.train.positions import Drawn
from diffpc.train.settings import IdentityLoss, LoopSettings
from tests.pipelines import random_pipeline

CORNERS = torch.tensor([[84.0, 60.0], [72.0, 60.0], [44.0, 60.0], [56.0, 60.0], [64.0, 80.0]])


def samples(seed, **fixed):
    """Random pairs at a timestep at which a face would be seen."""

    def draw(generator):
        tokens = torch.randint(1000, (32,), generator=generator)
        return {
            "z_0": torch.randn(16, 16, 16, generator=generator),
            "z_3d": torch.randn(16, 16, 16, generator=generator),
            "noise": torch.randn(16, 16, 16, generator=generator),
            "timestep": torch.tensor(300),
            "tokens": tokens,
            "tokens_2": tokens,
            "vector": torch.nn.functional.normalize(torch.randn(1, 128, generator=generator), dim=-1),
            "patches": torch.randn(64, 133, generator=generator),
            "face": torch.ones(16, 16, dtype=torch.uint8),
            "landmarks": CORNERS,
            "kept_global": torch.tensor(True),
            "kept_local": torch.tensor(True),
            "kept_adapter": torch.tensor(True),
            "i_skin": 2 * torch.rand(3, 128, 128, generator=generator) - 1,
            "kept_skin": torch.tensor(True),
        } | fixed

    return Drawn(seed, draw, lambda sample: "a pair")


def batch(count=2, **fixed):
    return default_collate([samples(0, **fixed)[position] for position in range(count)])


def task(identity: IdentityLoss | None = None, awake: bool = False) -> AdapterTask:
    """A task on random weights; `awake` gives the zero-initialised injectors some weight."""
    pipeline = random_pipeline()
    networks = Networks(
        id_encoder=pipeline.id_encoder,
        adapter=Adapter(pipeline.id_ctrl, pipeline.id_injectors, pipeline.id_attention),
        judge=Judge(pipeline.vae, load_embedder("dlib"), "eye_corners_nose"),
    )
    if awake:
        with torch.no_grad():
            for parameter in pipeline.id_injectors.parameters():
                parameter.add_(0.02)
    base = Backbone(
        pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2, pipeline.unet, pipeline.scheduler
    )
    return AdapterTask(base, networks, samples, identity or IdentityLoss(weight=0.0))


def test_an_untrained_adapter_has_the_base_models_loss():
    made = task()
    with_adapter = made.losses(batch(4))["total"]
    for parameter in made.networks.adapter.control.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(with_adapter, made.losses(batch(4))["total"])


def test_the_identity_loss_alone_moves_id_ctrl():
    """Its gradient passes the frozen embedder, decoder and UNet (method.md, point 15)."""
    made = task(IdentityLoss(weight=1.0), awake=True)
    for module in made.frozen().values():
        module.requires_grad_(False)
    made.losses(batch(1))["identity"].mean().backward()
    gradients = [parameter.grad for parameter in made.networks.adapter.control.parameters()]
    assert sum(float(gradient.abs().sum()) for gradient in gradients if gradient is not None) > 0
    assert all(parameter.grad is None for parameter in made.networks.judge.decoder.parameters())


def test_no_identity_loss_where_the_image_is_still_noise():
    terms = task(IdentityLoss(weight=0.5, until=299)).losses(batch())
    assert terms["identity"].tolist() == [0, 0]
    assert torch.equal(terms["total"], terms["diffusion"])


def test_only_images_that_are_clean_enough_have_an_identity_loss():
    given = batch()
    given["timestep"] = torch.tensor([500, 300])
    terms = task(IdentityLoss(weight=0.5)).losses(given)
    assert terms["identity"][0] == 0 < terms["identity"][1]
    assert torch.allclose(terms["total"], terms["diffusion"] + 0.5 * terms["identity"])


@pytest.mark.parametrize("part", ["unet", "text_encoder", "text_encoder_2"])
def test_frozen_parts_are_the_same_bit_for_bit_after_training(part, tmp_path):
    made = task()
    frozen = getattr(made.backbone, part)
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    trained = made.networks.adapter.injectors.injectors[0].modulation.weight.clone()
    Trainer(made, LoopSettings(images=4, batch=2, learning_rate=1e-2), tmp_path).run(lambda report: None)
    assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items())
    assert not torch.equal(trained, made.networks.adapter.injectors.injectors[0].modulation.weight)
    assert all(parameter.grad is None for parameter in frozen.parameters())


def test_a_joint_training_moves_the_base_and_keeps_it_able_to_stand_alone():
    made = task(awake=True)
    joint = AdapterTask(made.backbone, made.networks, samples, IdentityLoss(weight=0.0), joint=True)
    assert set(joint.modules()) - set(made.modules()) == {"unet", "text_encoder", "text_encoder_2"}
    assert set(made.frozen()) - set(joint.frozen()) == {"unet", "text_encoder", "text_encoder_2"}
    joint.losses(batch())["total"].mean().backward()
    for part in (made.backbone.unet.conv_in, made.backbone.text_encoder, made.backbone.text_encoder_2):
        assert sum(p.grad.abs().sum() for p in part.parameters() if p.grad is not None) > 0
    some = {**batch(), "kept_adapter": torch.tensor([True, False])}
    with_patches, without = (
        joint.losses(given)["total"] for given in (some, {**some, "patches": 0 * some["patches"]})
    )
    assert with_patches[0] != without[0]
    assert with_patches[1] == without[1]  # no adapter, no use of identity


def test_the_frozen_encoder_and_middle_keep_no_activations():
    """Nothing that needs a gradient reaches the UNet before its middle block's injector."""
    made = task()
    for module in made.frozen().values():
        module.requires_grad_(False)
    seen = {}
    unet = made.backbone.unet
    for name, module in (
        ("encoder", unet.down_blocks[-1]),
        ("middle", unet.mid_block),
        ("end", unet.conv_out),
    ):
        module.register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.update(
                {name: output[0] if isinstance(output, tuple) else output}
            ),
            prepend=True,
        )
    made.losses(batch())
    assert not seen["encoder"].requires_grad and not seen["middle"].requires_grad
    assert seen["end"].requires_grad


def test_skin_is_encoded_where_it_is_kept():
    made = task(awake=True)
    given = batch(1)
    vae = made.backbone.vae
    with torch.no_grad():
        mode = vae.encode(given["i_skin"]).latent_dist.mean * vae.config.scaling_factor
    assert torch.equal(skin_latents(given, vae), mode)
    assert not skin_latents({**given, "kept_skin": torch.tensor([False])}, vae).any()
    assert skin_latents({name: value for name, value in given.items() if name != "i_skin"}, vae) is None


def test_only_an_id_ctrl_that_is_told_skin_obeys_it():
    made = task(awake=True)
    with torch.no_grad():
        made.networks.adapter.control.condition_in.weight.add_(0.05)
    given, without = batch(1), batch(1, kept_skin=torch.tensor(False))
    assert not torch.equal(made.losses(given)["total"], made.losses(without)["total"])
    assert "vae" in made.frozen()
    plain = IDCtrl.from_unet(made.backbone.unet)
    assert plain.condition_in.weight.shape[1] == 16
    made.networks = replace(made.networks, adapter=replace(made.networks.adapter, control=plain))
    assert torch.equal(made.losses(given)["total"], made.losses(without)["total"])
    assert "vae" not in made.frozen()


def test_errors_in_the_face_count_more():
    made = task()
    face = torch.zeros(16, 16, dtype=torch.uint8)
    face[4:12, 4:12] = 1
    given = batch(1, face=face)
    plain = made.losses(given)["total"]
    made.face_weight = 4.0
    weighted = made.losses(given)["total"]
    made.face_weight = 1e9
    alone = made.losses(given)["total"]
    # 64 of 256 places: the mean weight is (192 + 4 * 64) / 256, and the rest's mean follows from all
    rest = (plain * 256 - alone * 64) / 192
    assert torch.allclose(weighted, (192 * rest + 4 * 64 * alone) / (192 + 4 * 64), rtol=1e-4)
    assert not torch.allclose(weighted, plain)
