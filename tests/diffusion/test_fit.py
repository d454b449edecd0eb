from dataclasses import replace

import pytest

from diffpc.diffusion.adapter import build_adapter
from diffpc.diffusion.backbone import build_unet
from diffpc.diffusion.decoupled import IDAttention
from diffpc.diffusion.fit import check_fit
from diffpc.errors import UsageError
from diffpc.presets import ablations, tiny

ROWS = ablations(tiny().adapter)


@pytest.mark.parametrize("row", ROWS)
def test_an_adapter_fits_the_unet_it_was_made_for(unet, row):
    check_fit(build_adapter(ROWS[row], unet), unet)


def test_an_adapter_of_other_sizes_is_refused(unet):
    settings = tiny().backbone
    wider = replace(settings, unet=replace(settings.unet, block_out_channels=(64, 160, 192)))
    longer = replace(settings, text_encoder=replace(settings.text_encoder, hidden_size=192))
    deeper = replace(settings, unet=replace(settings.unet, transformer_layers_per_block=(1, 2, 1)))
    adapter = build_adapter(tiny().adapter, unet)
    for changed, reason in (
        (wider, "widths of the decoder"),
        (longer, "width of the text"),
        (deeper, "sizes of the encoder"),
    ):
        with pytest.raises(UsageError, match=reason):
            check_fit(adapter, build_unet(changed))


def test_an_adapter_for_other_cross_attentions_is_refused(unet):
    adapter = build_adapter(ROWS["ip_adapter"], unet)
    fewer = IDAttention(256, adapter["id_attention"].places[1:], adapter["id_attention"].config["widths"][1:])
    with pytest.raises(UsageError, match="widths of the cross-attentions"):
        check_fit(adapter | {"id_attention": fewer}, unet)
