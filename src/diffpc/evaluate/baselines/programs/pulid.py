"""PuLID v1.1 (ToTheBeginning/PuLID @ 5f746e0, Apache-2.0; SDXL): identity tokens in attention; no pose.

Settings: source (a clone of the repository with its weights), base, size, steps, guidance. The repository loads its
weights below its own folder and its sampler follows the base, as in its app_v1_1.py.
"""

import os
import sys

from protocol import Refused, serve


def load(settings):
    """Networks on their device -> description and a function that draws."""
    os.chdir(settings["source"])
    sys.path.insert(0, settings["source"])
    import numpy as np
    import torch
    from PIL import Image
    from pulid import attention_processor as attention
    from pulid.pipeline_v1_1 import PuLIDPipeline
    from pulid.utils import resize_numpy_image_long

    torch.set_grad_enabled(False)
    sampler = "dpmpp_sde" if "lightning" in settings["base"].lower() else "dpmpp_2m"
    pipeline = PuLIDPipeline(sdxl_repo=settings["base"], sampler=sampler)
    attention.NUM_ZERO, attention.ORTHO, attention.ORTHO_v2 = 20, False, True

    def draw(task):
        reference = resize_numpy_image_long(np.array(Image.open(task["reference"]).convert("RGB")), 1024)
        try:
            without, embedding = pipeline.get_id_embedding([reference])
        except RuntimeError as error:  # what it raises where its detectors find no face
            raise Refused(f"no face found in the reference ({error})") from error
        width, height = settings["size"]
        size, scale = (1, height, width), 0.8
        picture = pipeline.inference(
            task["prompt"],
            size,
            "",
            embedding,
            without,
            scale,
            settings["guidance"],
            settings["steps"],
            task["seed"],
        )[0]
        Image.fromarray(np.array(picture)).save(task["output"])

    return {"name": "pulid_v1_1"}, draw


if __name__ == "__main__":
    serve(load)
