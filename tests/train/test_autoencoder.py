import pytest
import torch
from torch.utils.data import default_collate

from diffpc.diffusion.backbone import build_vae
from diffpc.faces.embed import load_embedder
from diffpc.presets import tiny
from diffpc.train.autoencoder import (
    KL_WEIGHT,
    POWER_WEIGHT,
    DecoderTask,
    EncoderTask,
    Faces,
    VAETask,
    drawing_terms,
)
from diffpc.train.loop import Trainer
from diffpc.train.settings import LoopSettings


def vae():
    torch.manual_seed(0)
    return build_vae(tiny().backbone)


def batch(task, count):
    return default_collate([task.samples(0)[position] for position in range(count)])


def test_the_encoder_learns_the_given_latents(tmp_path):
    images, latents = torch.randn(2, 3, 32, 32), torch.randn(2, 16, 4, 4)
    losses = []
    trainer = Trainer(
        EncoderTask(vae(), images, latents), LoopSettings(60, 2, 3e-3, ema_images=0.0), tmp_path
    )
    trainer.run(lambda report: losses.append(report.terms["total"]))
    assert losses[-1] < 0.6 * losses[0]


def test_the_decoder_alone_is_trained():
    autoencoder = vae()
    crops = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    task = DecoderTask(autoencoder, crops, torch.randn(2, 16, 4, 4))
    task.losses(batch(task, 2))["total"].mean().backward()
    assert all(parameter.grad is None for parameter in autoencoder.encoder.parameters())
    assert all(parameter.grad is not None for parameter in autoencoder.decoder.parameters())


def test_the_decoders_loss_of_a_constant_error_is_in_the_pixels():
    """A decoder that is off by a constant has no error at the edges."""
    autoencoder = vae()
    task = DecoderTask(
        autoencoder, torch.full((1, 3, 32, 32), 255, dtype=torch.uint8), torch.zeros(1, 16, 4, 4)
    )
    with torch.no_grad():
        autoencoder.decoder.conv_out.weight.zero_()
        autoencoder.decoder.conv_out.bias.fill_(0.5)
        terms = task.losses(batch(task, 1))
    assert terms["pixels"] == 0.5
    assert terms["edges"] == 0


def test_a_window_shows_the_same_part_of_picture_and_latents():
    """Each latent value is written into the pixels that it stands for."""
    latents = torch.arange(16.0).reshape(1, 1, 4, 4).expand(1, 16, 4, 4).contiguous()
    side = latents[0, 0].repeat_interleave(8, 0).repeat_interleave(8, 1)
    crops = side.byte().expand(1, 3, -1, -1)
    task = DecoderTask(vae(), crops, latents, window=2)
    for position in range(5):
        sample = task.samples(0)[position]
        picture, window = sample["picture"], sample["latents"]
        assert picture.shape == (3, 16, 16)
        # within the noise that is added to the latents
        assert torch.allclose((picture[0, ::8, ::8] + 1) * 127.5, window[0], atol=0.3)


def test_all_of_the_autoencoder_learns_to_draw_a_picture_again(tmp_path):
    pictures = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    pictures[0, :, :, 16:] = 255
    pictures[1, :, 16:] = 255
    task = VAETask(vae(), pictures)
    losses = []
    settings = LoopSettings(80, 2, 2e-3, ema_images=0.0)
    Trainer(task, settings, tmp_path).run(lambda report: losses.append(report.terms["pixels"]))
    assert losses[-1] < 0.6 * losses[0]


def test_the_autoencoders_terms_add_up():
    task = VAETask(vae(), torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8), window=4)
    given = batch(task, 2)
    assert given["picture"].shape == (2, 3, 32, 32) and given["noise"].shape == (2, 16, 4, 4)
    terms = task.losses(given)
    regular = KL_WEIGHT * terms["kl"] + POWER_WEIGHT * (terms["power"] - 1) ** 2
    assert torch.allclose(terms["total"], terms["pixels"] + terms["edges"] + regular)


def test_drawing_terms_of_a_step():
    """Half of the pixels are off by 1: the error is 0.5, and one of three differences across is off by 1."""
    wanted = torch.zeros(1, 3, 4, 4)
    drawn = wanted.clone()
    drawn[..., 2:] = 1.0
    terms = drawing_terms(drawn, wanted)
    assert terms["pixels"] == 0.5
    assert torch.allclose(terms["edges"], torch.tensor([1 / 3]))


def test_the_decoder_is_told_whose_face_it_draws():
    embedder = load_embedder("dlib")
    corners = torch.tensor([[84.0, 60.0], [72.0, 60.0], [44.0, 60.0], [56.0, 60.0], [64.0, 80.0]])
    pictures = torch.randint(
        256, (1, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    autoencoder = vae()
    faces = Faces(corners[None], "eye_corners_nose", embedder, 8.0)
    task = DecoderTask(autoencoder, pictures, torch.randn(1, 16, 16, 16), 12, faces)
    sample = task.samples(0)[0]
    assert sample["picture"].shape == (3, 96, 96)
    corner = (corners - sample["landmarks"])[0].long().tolist()
    left, top = corner
    window = pictures[0, :, top : top + 96, left : left + 96].float() / 127.5 - 1
    assert torch.equal(sample["picture"], window)
    assert (sample["landmarks"].mean(0) - 48).abs().max() <= 12  # a latent, and half of one for rounding
    given = batch(task, 1)
    terms = task.losses(given)
    assert torch.allclose(terms["total"], terms["pixels"] + terms["edges"] + 8 * terms["identity"])
    terms["identity"].mean().backward()
    assert autoencoder.decoder.conv_in.weight.grad.abs().sum() > 0
    drawn = autoencoder.decode(given["latents"] / autoencoder.config["scaling_factor"]).sample
    found, wanted = (
        embedder.embed(one, given["landmarks"], faces.layout) for one in (drawn, given["picture"])
    )
    assert torch.allclose(terms["identity"], 1 - torch.cosine_similarity(found, wanted), atol=1e-5)
    same = task._identity_loss(given["picture"], given, faces)
    assert torch.allclose(same, torch.zeros(1), atol=1e-5)
    assert "embedder" in task.frozen()


def test_a_discriminator_has_its_share_of_the_decoders_gradient():
    pictures = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    task = DecoderTask(vae(), pictures, torch.randn(2, 16, 8, 8), window=4, realism=0.25)
    assert task.discriminator is not None and set(task.modules()) == {"decoder", "discriminator"}
    with torch.no_grad():
        for parameter in task.discriminator.parameters():
            parameter.add_(0.05)
    terms = task.losses(batch(task, 2))
    last = task.vae.decoder.conv_out.weight

    def gradient(term):
        return torch.autograd.grad(term.mean(), last, retain_graph=True)[0]

    drawing = gradient(terms["pixels"] + terms["edges"])
    share = gradient(terms["total"] - terms["discriminator"]) - drawing
    assert float(share.norm() / drawing.norm()) == pytest.approx(0.25, rel=1e-3)
    assert (
        torch.nn.functional.cosine_similarity(share.flatten(), gradient(terms["realism"]).flatten(), dim=0)
        > 0.999
    )
    assert gradient(terms["discriminator"] + 0 * terms["pixels"]).abs().max() == 0
