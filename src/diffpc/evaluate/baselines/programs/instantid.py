"""InstantID (InstantID/InstantID, Apache-2.0; SDXL): identity tokens and a ControlNet on five points of the target.

Settings: source (a clone of the repository), weights (folder with ControlNetModel/ and ip-adapter.bin), base,
insightface (folder with models/antelopev2), device, size, steps, guidance.
"""

import sys
from pathlib import Path

from protocol import Refused, largest, serve


def load(settings):
    """Networks on their device -> description and a function that draws."""
    sys.path.insert(0, settings["source"])
    import cv2
    import numpy as np
    import torch
    from diffusers import ControlNetModel
    from insightface.app import FaceAnalysis
    from PIL import Image
    from pipeline_stable_diffusion_xl_instantid import StableDiffusionXLInstantIDPipeline, draw_kps

    weights = Path(settings["weights"])
    app = FaceAnalysis(name="antelopev2", root=settings["insightface"])
    app.prepare(ctx_id=0, det_size=(640, 640))
    controlnet = ControlNetModel.from_pretrained(str(weights / "ControlNetModel"), torch_dtype=torch.float16)
    pipe = StableDiffusionXLInstantIDPipeline.from_pretrained(
        settings["base"], controlnet=controlnet, torch_dtype=torch.float16
    ).to(settings["device"])
    pipe.load_ip_adapter_instantid(str(weights / "ip-adapter.bin"))

    def seen(path):
        image = Image.open(path).convert("RGB").resize(tuple(settings["size"]))
        return image, app.get(cv2.cvtColor(np.array(image), cv2.COLOR_RGB2BGR))

    def draw(task):
        _, faces = seen(task["reference"])
        canvas, posed = seen(task["target"])
        if not posed:
            raise Refused("no face found in the target")
        picture = pipe(
            prompt=task["prompt"],
            image_embeds=largest(faces)["embedding"],
            image=draw_kps(canvas, largest(posed)["kps"]),
            controlnet_conditioning_scale=0.8,
            ip_adapter_scale=0.8,
            num_inference_steps=settings["steps"],
            guidance_scale=settings["guidance"],
            generator=torch.Generator("cpu").manual_seed(task["seed"]),
        ).images[0]
        picture.save(task["output"])

    return {"name": "instantid"}, draw


if __name__ == "__main__":
    serve(load)
