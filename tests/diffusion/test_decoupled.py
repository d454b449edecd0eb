import pytest
import torch
from diffusers.models.attention_processor import Attention, IPAdapterAttnProcessor2_0

from diffpc.diffusion.attention import projected
from diffpc.diffusion.backbone import build_unet
from diffpc.diffusion.constants import constant_keys_values
from diffpc.diffusion.decoupled import Decoupled, IDAttention, attached
from diffpc.presets import sdxl
from tests.diffusion.conftest import conditions, predict, shaken


@pytest.fixture
def attention(unet):
    return shaken(IDAttention.from_unet(unet))


def tokens(batch=1):
    return conditions(batch).identity


def processors(unet):
    return [module.processor for module in unet.modules() if isinstance(module, Attention)]


def test_at_full_size_it_has_the_measured_size():
    with torch.device("meta"):
        attention = IDAttention.from_unet(build_unet(sdxl().backbone))
    assert sum(parameter.numel() for parameter in attention.parameters()) == 340_787_200
    widths = list(attention.config["widths"])
    assert len(widths) == 70 and (widths.count(640), widths.count(1280)) == (10, 60)
    assert all(place.endswith("attn2") for place in attention.places)


def test_it_is_attention_to_both_by_hand():
    """One head of width 2 and unit matrices: two keys that score alike give the mean of their values."""
    layer = Attention(query_dim=2, cross_attention_dim=2, heads=1, dim_head=2)
    with torch.no_grad():
        for one in (layer.to_q, layer.to_k, layer.to_v, layer.to_out[0]):
            one.weight.copy_(torch.eye(2))
        layer.to_out[0].bias.copy_(torch.tensor([0.0, 100.0]))
    text = torch.tensor([[[0.0, 1.0], [0.0, 3.0]]])
    identity = (torch.zeros(1, 2, 2), torch.tensor([[[10.0, 0.0], [30.0, 4.0]]]))
    query = torch.tensor([[[5.0, 0.0]]])
    for strength in (0.0, 0.5, 1.0):
        layer.processor = Decoupled(projected, identity, strength)
        found = layer(query, encoder_hidden_states=text).flatten()
        assert found.tolist() == [20 * strength, 2 + 2 * strength + 100]


def test_it_is_the_librarys_ip_adapter(attention):
    torch.manual_seed(0)
    layer = Attention(query_dim=64, cross_attention_dim=256, heads=2, dim_head=32)
    theirs = IPAdapterAttnProcessor2_0(64, 256, num_tokens=(32,), scale=0.7)
    states, text, identity = torch.randn(2, 5, 64), torch.randn(2, 9, 256), torch.randn(2, 32, 256)
    with torch.no_grad():
        keys_values = theirs.to_k_ip[0](identity), theirs.to_v_ip[0](identity)
        layer.processor = Decoupled(projected, keys_values, 0.7)
        ours = layer(states, encoder_hidden_states=text)
        layer.set_processor(theirs)
        assert torch.equal(ours, layer(states, encoder_hidden_states=(text, [identity])))


def test_keys_start_as_the_unets_and_values_at_zero(unet):
    attention = IDAttention.from_unet(unet)
    assert attention.places == [
        name for name, one in unet.named_modules() if isinstance(one, Attention) and one.is_cross_attention
    ]
    for place, key, value in zip(attention.places, attention.to_keys, attention.to_values, strict=True):
        layer = unet.get_submodule(place)
        assert torch.equal(key.weight, layer.to_k.weight) and key.weight is not layer.to_k.weight
        assert value.weight.shape == layer.to_v.weight.shape and value.weight.count_nonzero() == 0
    assert not any(parameter.requires_grad for parameter in unet.parameters())
    assert all(parameter.requires_grad for parameter in attention.parameters())


def test_untrained_or_at_strength_zero_the_unet_is_the_same_bit_for_bit(unet, attention):
    untrained = IDAttention.from_unet(unet)
    with torch.no_grad():
        base = predict(unet)
        with attached(unet, untrained, untrained(tokens())):
            assert torch.equal(predict(unet), base)
        with attached(unet, attention, attention(tokens()), 0.0):
            assert torch.equal(predict(unet), base)
        with attached(unet, attention, attention(tokens())):
            assert not torch.allclose(predict(unet), base)


def test_strength_is_linear_in_each_layer_and_tokens_matter(unet, attention):
    with torch.no_grad():
        found = []
        for identity, strength in [(tokens(), 1.0), (tokens(), 0.5), (-tokens(), 1.0)]:
            with attached(unet, attention, attention(identity), strength):
                found.append(predict(unet))
    assert not torch.allclose(found[0], found[1]) and not torch.allclose(found[0], found[2])


def test_detaching_leaves_nothing_behind(unet, attention):
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    own = processors(unet)
    with torch.no_grad():
        base = predict(unet)
        keys_values = attention(tokens())
        with attached(unet, attention, keys_values):
            assert sum(isinstance(one, Decoupled) for one in processors(unet)) == len(attention.places)
        with pytest.raises(KeyError), attached(unet, attention, keys_values):
            raise KeyError
        assert torch.equal(predict(unet), base)
    assert all(one is other for one, other in zip(processors(unet), own, strict=True))
    assert list(unet.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())


def test_other_numbers_of_places_are_refused(unet, attention):
    with pytest.raises(ValueError, match="shorter"):
        attached(unet, attention, attention(tokens())[1:]).__enter__()
    assert not any(isinstance(one, Decoupled) for one in processors(unet))


def test_kept_keys_and_values_of_the_text_stay_kept(unet, attention):
    calls = []
    layer = unet.get_submodule(attention.places[0])
    with torch.no_grad():
        keys_values = attention(tokens())
        with attached(unet, attention, keys_values):
            wanted = predict(unet)
        handle = layer.to_k.register_forward_hook(lambda *_: calls.append(1))
        with constant_keys_values(unet):
            for _ in range(2):
                with attached(unet, attention, keys_values):
                    assert torch.equal(predict(unet), wanted)
        handle.remove()
    assert len(calls) == 1


def test_gradients_reach_every_weight_and_the_tokens(unet, attention):
    identity = tokens().requires_grad_()
    with attached(unet, attention, attention(identity)):
        prediction = predict(unet)
    prediction.square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in attention.parameters())
    assert identity.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in unet.parameters())


def test_untrained_the_values_learn_first(unet):
    attention = IDAttention.from_unet(unet)
    with attached(unet, attention, attention(tokens())):
        prediction = predict(unet)
    prediction.square().mean().backward()
    assert all(value.weight.grad.abs().sum() > 0 for value in attention.to_values)
    assert all(key.weight.grad.abs().sum() == 0 for key in attention.to_keys)


def test_checkpointed_gradients_are_the_same_after_the_context(unet, attention):
    found = []
    for checkpointed in (False, True):
        (unet.enable_gradient_checkpointing if checkpointed else unet.disable_gradient_checkpointing)()
        blocks = [one for one in unet.modules() if hasattr(one, "_gradient_checkpointing_func")]
        own = [block._gradient_checkpointing_func for block in blocks]
        attention.zero_grad()
        with attached(unet.train(), attention, attention(tokens())):
            prediction = predict(unet)
        prediction.square().mean().backward()  # outside: checkpointed blocks run again here
        found.append([parameter.grad.clone() for parameter in attention.parameters()])
        assert own == [block._gradient_checkpointing_func for block in blocks]
        assert not any(isinstance(one, Decoupled) for one in processors(unet))
    unet.disable_gradient_checkpointing()
    unet.eval()
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_it_is_saved_and_loaded_whole(unet, attention, tmp_path):
    attention.save_pretrained(tmp_path)
    loaded = IDAttention.from_pretrained(tmp_path)
    assert loaded.places == attention.places
    with torch.no_grad():
        pairs = zip(attention(tokens()), loaded(tokens()), strict=True)
        assert all(torch.equal(a, b) for mine, its in pairs for a, b in zip(mine, its, strict=True))
