"""PhotoMaker-V2 (TencentARC/PhotoMaker @ 2987fc6, Apache-2.0; SDXL): tokens fused into a trigger word; no pose.

Settings: source (a clone of the repository), weights (photomaker-v2.bin), base, device, size, steps, guidance. Its
merging starts at a fifth of the steps, as 10 of 50 in its example.
"""

import sys
from pathlib import Path

from protocol import largest, serve

TRIGGER = "img"


def triggered(prompt):
    """The prompt with the trigger word behind the first word for a person, or behind "a person" in front."""
    words = prompt.split()
    for place, word in enumerate(words):
        if word.strip(",.") in (
            "person",
            "man",
            "woman",
            "astronaut",
            "chef",
            "reader",
            "gardener",
            "violinist",
        ):
            tail = word[len(word.rstrip(",.")) :]
            return " ".join([*words[:place], word.rstrip(",."), TRIGGER + tail, *words[place + 1 :]])
    return f"a person {TRIGGER}, {prompt}"


def load(settings):
    """Networks on their device -> description and a function that draws."""
    sys.path.insert(0, settings["source"])
    import numpy as np
    import torch
    from diffusers import EulerDiscreteScheduler
    from diffusers.utils import load_image
    from photomaker import FaceAnalysis2, PhotoMakerStableDiffusionXLPipeline, analyze_faces

    detector = FaceAnalysis2(allowed_modules=["detection", "recognition"])
    detector.prepare(ctx_id=0, det_size=(640, 640))
    weights = Path(settings["weights"])
    pipe = PhotoMakerStableDiffusionXLPipeline.from_pretrained(settings["base"], torch_dtype=torch.float16)
    pipe = pipe.to(settings["device"])
    pipe.load_photomaker_adapter(
        str(weights.parent), subfolder="", weight_name=weights.name, trigger_word=TRIGGER
    )
    pipe.fuse_lora()
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)

    def draw(task):
        reference = load_image(task["reference"])
        face = largest(analyze_faces(detector, np.array(reference)[:, :, ::-1]))
        width, height = settings["size"]
        pipe(
            prompt=triggered(task["prompt"]),
            input_id_images=[reference],
            id_embeds=torch.from_numpy(face["embedding"])[None],
            width=width,
            height=height,
            num_inference_steps=settings["steps"],
            start_merge_step=max(1, settings["steps"] // 5),
            guidance_scale=settings["guidance"],
            generator=torch.Generator("cpu").manual_seed(task["seed"]),
        ).images[0].save(task["output"])

    return {"name": "photomaker_v2"}, draw


if __name__ == "__main__":
    serve(load)
