from dataclasses import replace

import pytest

from diffpc.diffusion.flow.fit import check_fit
from diffpc.errors import UsageError
from tests.diffusion.flow.conftest import SETTINGS, new_adapter, new_transformer


@pytest.mark.parametrize(
    ("options", "skin"), [({}, False), ({"layers": 1}, True), ({"beside_text": True}, True)]
)
def test_an_adapter_fits_the_transformer_it_was_made_for(transformer, options, skin):
    check_fit(new_adapter(transformer, replace(SETTINGS, skin=skin), **options), transformer)


WIDER = {"num_attention_heads": 4, "caption_projection_dim": 128}
OTHERS = {
    "width of the tokens is 128, the adapter was made for 64": WIDER,
    "number of blocks is 6, the adapter was made for 4": {"num_layers": 6},
    "sizes of the blocks is": {"in_channels": 16},
    "sizes of the blocks is .*": {"qk_norm": "rms_norm"},
}


@pytest.mark.parametrize("message", OTHERS)
def test_an_adapter_of_other_sizes_is_refused_in_one_line(transformer, message):
    adapter = new_adapter(transformer)
    with pytest.raises(UsageError, match=message) as caught:
        check_fit(adapter, new_transformer(**OTHERS[message]))
    assert "\n" not in str(caught.value)


def test_parts_of_two_adapters_are_refused(transformer):
    mixed = new_adapter(transformer)
    mixed["id_injectors"] = new_adapter(new_transformer(**WIDER))["id_injectors"]
    with pytest.raises(UsageError, match="width of the stream is 64, the adapter was made for 128"):
        check_fit(mixed, transformer)
