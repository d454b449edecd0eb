"""IP-Adapter-FaceID-PlusV2 on SDXL with an openpose ControlNet, by diffusers itself, in Diff-PC's own environment.

Settings: weights (ip-adapter-faceid-plusv2_sdxl.bin; its LoRA is in it), base (SDXL folder), controlnet (folder of
xinsir/controlnet-openpose-sdxl-1.0), image_encoder (CLIP ViT-H/14 with projection), openpose (folder of
lllyasviel/Annotators for controlnet-aux), insightface (root with models/buffalo_l, optional), device, size, steps,
guidance. The adapter's card says: not for commercial use.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from protocol import Refused, largest, serve

SCALE = 0.7
"""Of the adapter, as in its demo; that of the ControlNet is 1."""


def build(base, controlnet, encoder, weights, device):
    """Parts -> a pipeline with the adapter in it.

    Args:
        base: a StableDiffusionXLPipeline.
        controlnet: a ControlNetModel of the same sizes.
        encoder: a CLIPVisionModelWithProjection; its penultimate layer feeds the adapter.
        weights: {"image_proj": ..., "ip_adapter": ...}.
        device: where it runs.
    """
    from diffusers import DDIMScheduler, StableDiffusionXLControlNetPipeline

    parts = {
        name: part
        for name, part in base.components.items()
        if name not in ("image_encoder", "feature_extractor")
    }
    # The paper's sampler: DDIM with trailing steps, as SDXL-Lightning needs it.
    parts["scheduler"] = DDIMScheduler.from_config(
        base.scheduler.config, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True
    )
    pipe = StableDiffusionXLControlNetPipeline(**parts, controlnet=controlnet)
    pipe.load_ip_adapter(weights, subfolder=None, weight_name=None, image_encoder_folder=None)
    pipe.set_ip_adapter_scale(SCALE)
    pipe.register_modules(image_encoder=encoder)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def draw(pipe, face, crop, pose, task, settings):
    """One picture.

    Args:
        pipe: from `build`.
        face: (512,) L2-normalised embedding of buffalo_l.
        crop: the face, aligned to 224 x 224 (PIL image).
        pose: openpose picture of the target (PIL image).
        task: prompt and seed.
        settings: size, steps, guidance.
    """
    import torch

    dtype, device = pipe.unet.dtype, pipe.device
    guided = settings["guidance"] > 1
    layer = pipe.unet.encoder_hid_proj.image_projection_layers[0]
    pixels = pipe.feature_extractor(crop, return_tensors="pt").pixel_values.to(device, dtype)
    both = torch.cat([torch.zeros_like(pixels), pixels]) if guided else pixels
    with torch.no_grad():
        patches = pipe.image_encoder(both, output_hidden_states=True).hidden_states[-2]
    layer.clip_embeds, layer.shortcut = patches[:, None], True
    known = face.to(device, dtype)[None, None]
    embeds = torch.cat([torch.zeros_like(known), known]) if guided else known
    width, height = settings["size"]
    return pipe(
        prompt=task["prompt"],
        image=pose.resize((width, height)),
        ip_adapter_image_embeds=[embeds],
        width=width,
        height=height,
        num_inference_steps=settings["steps"],
        guidance_scale=settings["guidance"],
        generator=torch.Generator("cpu").manual_seed(task["seed"]),
    ).images[0]


def load(settings):
    """Networks on their device -> description and a function that draws."""
    import cv2
    import numpy as np
    import torch
    from controlnet_aux import OpenposeDetector
    from diffusers import ControlNetModel, StableDiffusionXLPipeline
    from insightface.app import FaceAnalysis
    from insightface.utils import face_align
    from PIL import Image
    from transformers import CLIPVisionModelWithProjection

    kind = torch.float16 if settings["device"].startswith("cuda") else torch.float32
    app = FaceAnalysis(name="buffalo_l", root=settings.get("insightface", "~/.insightface"))
    app.prepare(ctx_id=0, det_size=(640, 640))
    skeleton = OpenposeDetector.from_pretrained(settings["openpose"])
    weights = torch.load(settings["weights"], map_location="cpu", weights_only=True)
    pipe = build(
        StableDiffusionXLPipeline.from_pretrained(settings["base"], torch_dtype=kind),
        ControlNetModel.from_pretrained(settings["controlnet"], torch_dtype=kind),
        CLIPVisionModelWithProjection.from_pretrained(settings["image_encoder"], torch_dtype=kind),
        weights,
        settings["device"],
    )

    def answer(task):
        photo = cv2.cvtColor(np.array(Image.open(task["reference"]).convert("RGB")), cv2.COLOR_RGB2BGR)
        face = largest(app.get(photo))
        crop = Image.fromarray(face_align.norm_crop(photo, face.kps, image_size=224)[:, :, ::-1])
        pose = skeleton(Image.open(task["target"]).convert("RGB"), include_face=True)
        if not np.array(pose).any():
            raise Refused("no pose found in the target")
        draw(pipe, torch.from_numpy(face.normed_embedding), crop, pose, task, settings).save(task["output"])

    return {"name": "faceid_plus_v2"}, answer


if __name__ == "__main__":
    serve(load)
