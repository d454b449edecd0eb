"""Whether an adapter and a UNet belong together."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from diffpc.diffusion.control import IDCtrl
from diffpc.diffusion.decoupled import IDAttention
from diffpc.diffusion.injector import IDInjectors
from diffpc.errors import UsageError


def check_fit(adapter: Mapping[str, Any], unet: UNet2DConditionModel) -> None:
    """Refuse an adapter that was made for a UNet of other sizes.

    Args:
        adapter: its networks by the names of the pipeline's components.
        unet: of the base.

    Raises:
        UsageError: naming the first size that differs.
    """
    with torch.device("meta"):  # only shapes are wanted
        control = IDCtrl.from_unet(unet, bool(adapter["id_ctrl"].config["skin"]))
        injectors = IDInjectors.from_unet(unet)
        attention = IDAttention.from_unet(unet) if "id_attention" in adapter else None
    pairs = {
        "width of the text": (adapter["id_encoder"].config["width"], unet.config["cross_attention_dim"]),
        "widths of the decoder": _sites(adapter["id_injectors"], injectors),
        "sizes of the encoder": shapes_apart(adapter["id_ctrl"], control),
        "widths of the cross-attentions": (_places(adapter.get("id_attention")), _places(attention)),
    }
    refuse_difference(pairs)


def refuse_difference(pairs: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuse an adapter whose base has other sizes.

    Args:
        pairs: what a size is called -> what the adapter was made for, and what the base has.

    Raises:
        UsageError: naming the first that differs.
    """
    for name, (wanted, given) in pairs.items():
        if wanted != given:
            raise UsageError(
                f"the adapter does not fit this base: {name} is {_short(given)}, the adapter was made for "
                f"{_short(wanted)}; give a base of the adapter's family"
            )


def _sites(made: IDInjectors, fresh: IDInjectors) -> tuple[list[Any], list[Any]]:
    """Widths at the adapter's sites: what it was made for, and the UNet's."""
    sites = dict(zip([None, *map(tuple, fresh.config["places"])], fresh.config["widths"], strict=True))
    places = [None, *map(tuple, made.config["places"])]
    wanted = [list(widths) for widths in made.config["widths"]]
    return wanted, [list(sites.get(place, ())) for place in places]


def shapes_apart(made: nn.Module, fresh: nn.Module) -> tuple[list[Any], list[Any]]:
    """Shapes of the weights that differ: the adapter's, and the UNet's."""
    found, shapes = (
        {key: list(value.shape) for key, value in control.state_dict().items()} for control in (made, fresh)
    )
    differs = [key for key in {**shapes, **found} if shapes.get(key) != found.get(key)]
    return [found.get(key) for key in differs], [shapes.get(key) for key in differs]


def _places(attention: IDAttention | None) -> dict[str, int]:
    """Name -> width of the cross-attentions, of an adapter that has its own there."""
    if attention is None:
        return {}
    return dict(zip(attention.config["places"], attention.config["widths"], strict=True))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
