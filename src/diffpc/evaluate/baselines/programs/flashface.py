"""FlashFace (ali-vilab/FlashFace @ 00fe086, MIT; SD 1.5, 768 px): a second UNet's features of the reference; no pose.

Settings: source (a clone of the repository, its weights in cache/), steps, guidance. The networks, sizes and strengths
are those of its demo_gradio.py; the picture is 768 x 768 whatever size is asked for; SDXL-Lightning does not fit.
"""

import os
import sys
from pathlib import Path

from protocol import Refused, serve

SIDE, LATENT, REFERENCES = 768, 96, 4
FEATURES, BEFORE, FACE_GUIDANCE, LAUNCH = 0.9, 0.85, 2.2, 600
"""Its demo's reference feature strength, that before the guidance sets in, the guidance, and when it does."""


def load(settings):
    """Networks on their device -> description and a function that draws."""
    place = str(Path(settings["source"]) / "flashface" / "all_finetune")
    os.chdir(settings["source"])
    sys.path[:0] = [place, settings["source"]]
    import numpy as np
    import torch
    import torchvision.transforms as transforms
    from config import cfg
    from ldm import data, models, ops
    from ldm.models.retinaface import crop_face, retinaface
    from ldm.models.vae import sd_v1_vae
    from models import sd_v1_ref_unet
    from ops.context_diffusion import ContextGaussianDiffusion
    from PIL import Image
    from utils import PadToSquare, get_padding, seed_everything

    detector = retinaface(pretrained=True, device="cuda").eval().requires_grad_(False)
    tokenizer = data.CLIPTokenizer(padding="eos")
    clip = getattr(models, cfg.clip_model)(pretrained=True).eval().requires_grad_(False).textual.cuda()
    autoencoder = sd_v1_vae(pretrained=True).eval().requires_grad_(False).cuda()
    unet = sd_v1_ref_unet(pretrained=True, version="sd-v1-5_nonema", enable_encoder=False).cuda()
    unet.replace_input_conv()
    unet.load_state_dict(torch.load("cache/flashface.ckpt", map_location="cpu"), strict=True)
    unet = unet.eval().requires_grad_(False).cuda()
    sigmas = ops.noise_schedule(
        schedule=cfg.schedule, n=cfg.num_timesteps, beta_min=cfg.scale_min, beta_max=cfg.scale_max
    )
    diffusion = ContextGaussianDiffusion(sigmas=sigmas, prediction_type=cfg.prediction_type)
    diffusion.num_pairs, diffusion.classifier = REFERENCES, FACE_GUIDANCE
    diffusion.progress = print  # it tells how far it is
    to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)])

    def face_of(path):
        photo = Image.open(path).convert("RGB")
        padded = transforms.Compose([PadToSquare(size=640), transforms.ToTensor()])(photo)
        boxes, points = detector.detect(padded[None].cuda(), min_thr=0.6)
        scale = 640 / max(photo.size)
        left, top, _, _ = get_padding(round(scale * photo.width), round(scale * photo.height), 640)
        boxes[0][:, [0, 2]] -= left
        boxes[0][:, [1, 3]] -= top
        points[0][:, :, 0] -= left
        points[0][:, :, 1] -= top
        boxes[0][:, :4] /= scale
        points[0][:, :, :2] /= scale
        crops = crop_face(photo, boxes[0], points[0])
        if len(crops) != 1:
            raise Refused(f"{len(crops)} faces found in the reference, not one")
        return to_tensor(PadToSquare(224)(crops[0].convert("RGB")))

    def text_of(words):
        x = clip.token_embedding(tokenizer([words]).cuda()) + clip.pos_embedding
        for block in clip.transformer:
            x = block(x)
        return clip.norm(x)

    def draw(task):
        seed_everything(task["seed"])
        faces = torch.stack([face_of(task["reference"])] * REFERENCES).cuda()
        with torch.no_grad(), torch.cuda.amp.autocast(dtype=cfg.flash_dtype):
            nothing = text_of("")
            known = cfg.ae_scale * autoencoder.sample(faces, deterministic=True)
            unet.share_cache.update(
                num_pairs=REFERENCES,
                ref=known,
                similarity=torch.tensor(FEATURES).cuda(),
                ori_similarity=torch.tensor(FEATURES).cuda(),
                lamda_feat_before_ref_guidence=torch.tensor(BEFORE).cuda(),
                ref_context=nothing.repeat(len(known), 1, 1),
                masks=torch.zeros(1, LATENT, LATENT).cuda(),
                classifier=FACE_GUIDANCE,
                step_to_launch_face_guidence=LAUNCH,
            )
            latents = diffusion.sample(
                solver="ddim",
                noise=torch.empty(1, 4, LATENT, LATENT, device="cuda").normal_(),
                model=unet,
                model_kwargs=[{"context": text_of(task["prompt"])}, {"context": nothing}],
                steps=settings["steps"],
                guide_scale=settings["guidance"],
                guide_rescale=0.5,
                show_progress=False,
                discretization=cfg.discretization,
            )
            picture = autoencoder.decode(latents / cfg.ae_scale)[0]
        values = (picture.float().permute(1, 2, 0) * 127.5 + 127.5).cpu().numpy().clip(0, 255)
        Image.fromarray(values.astype(np.uint8)).save(task["output"])

    return {"name": "flashface", "size": [SIDE, SIDE]}, draw


if __name__ == "__main__":
    serve(load)
