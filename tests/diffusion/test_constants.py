import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from diffpc.diffusion.constants import ConstantKeysValues, constant_keys_values
from tests.diffusion.conftest import inputs, predict, pyramid


def processors(*networks):
    return [
        module.processor
        for network in networks
        for module in network.modules()
        if isinstance(module, Attention)
    ]


def test_kept_keys_and_values_give_the_same_bits(unet, control):
    with torch.no_grad():
        plain, plain_c_id = predict(unet, 2), pyramid(control.eval(), 2)
        with constant_keys_values(unet, control):
            for _ in range(2):  # the first call keeps, the second uses
                assert torch.equal(predict(unet, 2), plain)
                pairs = zip(pyramid(control, 2), plain_c_id, strict=True)
                assert all(torch.equal(one, other) for one, other in pairs)


def test_the_projections_run_once(unet):
    cross = [one for one in unet.modules() if isinstance(one, Attention) and one.is_cross_attention]
    calls = []
    handle = cross[0].to_k.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad(), constant_keys_values(unet):
        for _ in range(3):
            predict(unet)
    handle.remove()
    assert len(calls) == 1


def test_processors_are_restored_after_an_error_too(unet):
    before = processors(unet)
    with pytest.raises(KeyError), constant_keys_values(unet):
        kept = [one for one in processors(unet) if isinstance(one, ConstantKeysValues)]
        assert len(kept) == sum(module.is_cross_attention for module in attentions(unet))
        raise KeyError
    assert processors(unet) == before


def attentions(network):
    return [module for module in network.modules() if isinstance(module, Attention)]


def test_other_processors_stay(unet):
    class Other(AttnProcessor2_0):
        pass

    chosen = next(module for module in attentions(unet) if module.is_cross_attention)
    before, chosen.processor = chosen.processor, Other()
    with constant_keys_values(unet):
        assert isinstance(chosen.processor, Other)
    chosen.processor = before


def test_text_may_change_between_contexts(unet):
    latents, timestep, text, added = inputs()

    def run(tokens):
        return unet(latents, timestep, encoder_hidden_states=tokens, added_cond_kwargs=added).sample

    with torch.no_grad():
        wanted = run(2 * text)
        with constant_keys_values(unet):
            run(text)
        with constant_keys_values(unet):
            assert torch.equal(run(2 * text), wanted)
