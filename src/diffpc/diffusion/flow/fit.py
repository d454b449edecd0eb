"""Whether an adapter and a transformer belong together."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import SD3Transformer2DModel

from diffpc.diffusion.fit import refuse_difference, shapes_apart
from diffpc.diffusion.flow.control import FlowIDCtrl


def check_fit(adapter: Mapping[str, Any], transformer: SD3Transformer2DModel) -> None:
    """Refuse an adapter that was made for a transformer of other sizes.

    Args:
        adapter: its networks by the names of the pipeline's components.
        transformer: of the base.

    Raises:
        UsageError: naming the first size that differs.
    """
    made, injectors = adapter["id_ctrl"], adapter["id_injectors"]
    width, layers = transformer.inner_dim, int(transformer.config["num_layers"])
    copied = int(made.config["blocks"]["num_layers"])
    refuse_difference(
        {
            "width of the tokens": (adapter["id_encoder"].config["width"], width),
            "number of blocks": (len(injectors.features) + 1, layers),
            "number of copied blocks": (copied, min(copied, layers)),
        }
    )
    with torch.device("meta"):  # only shapes are wanted
        options = bool(made.config["skin"]), bool(made.config["beside_text"])
        fresh = FlowIDCtrl.from_transformer(transformer, copied, *options)
    refuse_difference(
        {
            "width of the stream": (injectors.config["width"], width),
            "sizes of the blocks": shapes_apart(made, fresh),
        }
    )
