from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKL
from torch.utils.data import default_collate

from diffpc.diffusion.backbone import scaled, unscaled
from diffpc.faces.embed import load_embedder
from diffpc.train.features import latents_of
from diffpc.train.flow import FlowBase, FlowParts, FlowTask
from diffpc.train.loop import Trainer
from diffpc.train.objective import Judge
from diffpc.train.positions import Drawn
from diffpc.train.settings import IdentityLoss, LoopSettings
from tests.diffusion.conftest import shaken
from tests.diffusion.flow.conftest import SETTINGS, new_adapter, new_scheduler, new_transformer, of
from tests.train.test_adapter import CORNERS

OFF = IdentityLoss(weight=0.0)


def new_vae():
    """SD3's kind: a shift, and no convolutions around the latents."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
    return vae.eval().requires_grad_(False)


def samples(seed, **fixed):
    def draw(generator):
        return {
            "z_0": torch.randn(4, 8, 8, generator=generator),
            "z_3d": torch.randn(4, 8, 8, generator=generator),
            "noise": torch.randn(4, 8, 8, generator=generator),
            "timestep": torch.tensor(300),
            "text": torch.randn(5, 48, generator=generator),
            "pooled": torch.randn(24, generator=generator),
            "vector": torch.nn.functional.normalize(torch.randn(1, 128, generator=generator), dim=-1),
            "patches": torch.randn(7, 20, generator=generator),
            "landmarks": CORNERS / 2,
            "kept_global": torch.tensor(True),
            "kept_local": torch.tensor(True),
            "i_skin": 2 * torch.rand(3, 64, 64, generator=generator) - 1,
            "kept_skin": torch.tensor(True),
        } | fixed

    return Drawn(seed, draw, lambda sample: "a pair")


def batch(count=2, **fixed):
    return default_collate([samples(0, **fixed)[position] for position in range(count)])


def task(identity=OFF, awake=False, judged=False, skin=False):
    transformer = new_transformer()
    made = new_adapter(transformer, replace(SETTINGS, global_width=128, skin=skin))
    if awake:
        shaken(made["id_injectors"])
    vae = new_vae()
    judge = Judge(vae, load_embedder("dlib"), "eye_corners_nose") if judged else None
    base = FlowBase(transformer, new_scheduler(), vae if skin else None)
    return FlowTask(base, FlowParts(made["id_encoder"], of(made), judge), samples, identity)


def test_the_loss_is_that_of_the_bases_velocity_at_the_shifted_level():
    """Timestep 300 of 1000 at shift 3: a share of 0.301, t = 0.903 / 1.602."""
    made, given = task(), batch(2)
    level = 0.903 / 1.602
    z_t = (1 - level) * given["z_0"] + level * given["noise"]
    with torch.no_grad():
        found = made.base.transformer(
            z_t, given["text"], given["pooled"], torch.full((2,), 1000 * level), return_dict=False
        )[0]
        terms = made.losses(given)
    wanted = (found - (given["noise"] - given["z_0"])).square().mean((1, 2, 3))
    assert torch.allclose(terms["total"], wanted, rtol=1e-4)
    assert torch.equal(terms["total"], terms["diffusion"])


def test_the_identity_loss_is_added_as_in_equation_21_where_the_picture_is_clean_enough():
    given = batch(timestep=torch.tensor(300))
    given["timestep"] = torch.tensor([500, 300])
    made = task(IdentityLoss(weight=0.5), judged=True, awake=True)
    terms = made.losses(given)
    assert terms["identity"][0] == 0 < terms["identity"][1]
    assert torch.allclose(terms["total"], terms["diffusion"] + 0.5 * terms["identity"])


def test_the_identity_loss_alone_moves_id_ctrl_and_not_the_base():
    made = task(IdentityLoss(weight=1.0), judged=True, awake=True)
    for module in made.frozen().values():
        module.requires_grad_(False)
    made.losses(batch())["identity"].mean().backward()
    for module in made.modules().values():
        assert sum(one.grad.abs().sum() for one in module.parameters() if one.grad is not None) > 0
    assert all(one.grad is None for module in made.frozen().values() for one in module.parameters())


def test_a_perfect_velocity_is_judged_as_the_picture_itself():
    """z0_hat of Eq. 19 is z_0, so that L_id is that of the decoded photo."""
    made, given = task(IdentityLoss(weight=1.0), judged=True), batch()
    judge, objective = made.parts.judge, made.objective
    exact = objective.losses(lambda z_t, told: told["noise"] - told["z_0"], given)
    with torch.no_grad():
        pictures = judge.decoder.decode(given["z_0"] / 1.5305 + 0.0609).sample
        vectors = judge.embedder.embed(pictures, given["landmarks"], judge.layout)
    cosine = torch.nn.functional.cosine_similarity(vectors, given["vector"][:, 0], dim=-1)
    assert torch.allclose(exact["diffusion"], torch.zeros(2))
    assert torch.allclose(exact["identity"], 1 - cosine, atol=1e-4)


def test_latents_of_a_vae_with_a_shift_go_there_and_back():
    vae, pictures = new_vae(), 2 * torch.rand(1, 3, 64, 64) - 1
    mode = vae.encode(pictures).latent_dist.mode()
    assert torch.allclose(latents_of(pictures, vae), (mode - 0.0609) * 1.5305, atol=1e-6)
    assert torch.allclose(unscaled(scaled(mode, vae), vae), mode, atol=1e-6)


def test_skin_is_encoded_where_id_ctrl_is_told_it():
    made = task(awake=True, skin=True)
    shaken(made.parts.adapter.control.condition_in)
    given, without = batch(1), batch(1, kept_skin=torch.tensor(False))
    assert not torch.equal(made.losses(given)["total"], made.losses(without)["total"])
    assert "vae" in made.frozen()
    with pytest.raises(ValueError, match="the base needs its vae"):
        FlowTask(replace(made.base, vae=None), made.parts, samples)


def test_the_trainer_resumes_to_the_same_weights_and_leaves_the_base(tmp_path):
    settings = LoopSettings(images=8, batch=2, learning_rate=1e-2, checkpoint_images=4)
    weights = []
    for name, images in (("whole", [8]), ("parts", [4, 8])):
        for count in images:
            made = task()
            before = {key: value.clone() for key, value in made.base.transformer.state_dict().items()}
            trainer = Trainer(made, replace(settings, images=count), tmp_path / name)
            trainer.resume()
            trainer.run(lambda report: None)
        assert all(
            torch.equal(before[key], value) for key, value in made.base.transformer.state_dict().items()
        )
        weights.append(made.parts.adapter.injectors.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert sum(value.abs().sum() for key, value in weights[0].items() if "modulation" in key) > 0
