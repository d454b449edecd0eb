from dataclasses import replace

import pytest
import torch
from diffusers import SD3ControlNetModel

from diffpc.diffusion.flow.adapter import FlowAdapter
from diffpc.diffusion.flow.control import FlowIDCtrl
from diffpc.diffusion.flow.injector import FlowIDInjectors, attached
from diffpc.errors import UsageError
from tests.diffusion.conftest import shaken
from tests.diffusion.flow.conftest import (
    SETTINGS,
    conditions,
    new_adapter,
    new_step,
    new_transformer,
    of,
    steered,
)

UNTOUCHED = ["residual", "gated", "additive"]


@pytest.mark.parametrize("form", UNTOUCHED)
def test_an_untrained_adapter_leaves_the_transformer_bit_for_bit(transformer, form):
    adapter, told, step = (
        of(new_adapter(transformer, replace(SETTINGS, injector=form))),
        conditions(2),
        new_step(2),
    )
    with torch.no_grad():
        assert torch.equal(steered(transformer, adapter, told, step), step.predict(transformer))


@pytest.mark.parametrize("form", [*UNTOUCHED, "paper"])
def test_strength_zero_leaves_it_bit_for_bit(transformer, form):
    adapter, told, step = (
        of(new_adapter(transformer, replace(SETTINGS, injector=form))),
        conditions(2),
        new_step(2),
    )
    shaken(adapter.injectors)
    with torch.no_grad():
        base = step.predict(transformer)
        assert torch.equal(steered(transformer, adapter, told, step, 0.0), base)
        assert not torch.allclose(steered(transformer, adapter, told, step), base, atol=1e-3)
        one = steered(transformer, adapter, told, step, torch.tensor([0.0, 1.0])[:, None, None, None])
    assert torch.equal(one[0], base[0]) and not torch.allclose(one[1], base[1], atol=1e-3)


def test_a_site_is_equations_15_to_17_at_the_image_tokens(transformer):
    """In the residual form: h + phi * GN(h) + mu for h = x + align(c_id), and the text's tokens as they were."""
    injectors = shaken(FlowIDInjectors.from_transformer(transformer, 2))
    c_id = [torch.randn(1, 64, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (4, 5)]
    seen, step = {}, new_step()
    first, second = transformer.transformer_blocks[:2]
    with torch.no_grad():
        handles = [
            first.register_forward_hook(lambda _m, _a, output: seen.update(before=output)),
            second.register_forward_pre_hook(lambda _m, _a, told: seen.update(after=told), with_kwargs=True),
        ]
        with attached(transformer, injectors, c_id):
            step.predict(transformer)
        for handle in handles:
            handle.remove()
        site = injectors.injectors[0]
        text, image = seen["before"]
        h = image.transpose(1, 2).reshape(1, 64, 4, 4) + site.align(c_id[0])
        phi, mu = site.modulation(c_id[0]).chunk(2, dim=1)
        wanted = h + phi * site.norm(h) + mu
    assert torch.equal(seen["after"]["encoder_hidden_states"], text)
    found = seen["after"]["hidden_states"].transpose(1, 2).reshape(1, 64, 4, 4)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_the_additive_form_is_the_librarys_controlnet(transformer):
    """Told the text, with one zero layer for the blocks that share a c_id: SD3ControlNetModel and its own way in."""
    donor = new_transformer()  # the library writes into its config
    theirs = SD3ControlNetModel.from_transformer(donor, 2, num_extra_conditioning_channels=0)
    theirs = shaken(theirs, 0.02).eval()
    control = FlowIDCtrl.from_transformer(transformer, 2).eval()
    injectors = FlowIDInjectors.from_transformer(transformer, 2, "additive")
    weights, names = theirs.state_dict(), set(control.state_dict())
    own = {name: value for name, value in weights.items() if name in names}
    for part in ("weight", "bias"):
        last = f"transformer_blocks.1.norm1_context.linear.{part}"
        own[last] = torch.cat([own[last].chunk(6)[1], own[last].chunk(6)[0]])
        own[f"condition_in.{part}"] = weights[f"pos_embed_input.proj.{part}"]
    control.load_state_dict(own)
    with torch.no_grad():
        for site, feature in zip(injectors.injectors, injectors.features, strict=True):
            zero = theirs.controlnet_blocks[feature]
            site.align.weight.copy_(zero.weight[:, :, None, None])
            site.align.bias.copy_(zero.bias)
        told, step = conditions(2), new_step(2)
        given = {"encoder_hidden_states": step.text.tokens, "pooled_projections": step.text.pooled}
        given |= {"timestep": step.timesteps, "return_dict": False}
        (samples,) = theirs(step.z_t, told.z_3d, **given)
        wanted = transformer(step.z_t, block_controlnet_hidden_states=samples, **given)[0]
        told = replace(told, identity=theirs.context_embedder(step.text.tokens))
        found = steered(transformer, FlowAdapter(control, injectors), told, step)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(found, step.predict(transformer), atol=1e-2)


@pytest.mark.parametrize(
    ("layers", "copied", "features"),
    [
        (4, 2, [0, 0, 1]),
        (4, 3, [0, 1, 2]),
        (5, 3, [0, 0, 1, 2]),
        (24, 12, [block // 2 for block in range(23)]),
    ],
)
def test_each_c_id_serves_as_many_blocks_in_turn(layers, copied, features):
    with torch.device("meta"):
        found = FlowIDInjectors.from_transformer(new_transformer(num_layers=layers), copied)
    assert found.features == features


def test_afterwards_the_transformer_is_as_before(transformer):
    adapter, step = of(new_adapter(transformer)), new_step()
    shaken(adapter.injectors)
    with torch.no_grad():
        base = step.predict(transformer)
        with pytest.raises(KeyboardInterrupt):
            condition = adapter.condition(conditions().identity, conditions().z_3d)
            with adapter.attached(transformer, step, condition):
                raise KeyboardInterrupt
        assert torch.equal(step.predict(transformer), base)
    assert not any(module._forward_hooks for module in transformer.modules())


def test_gradient_checkpointing_changes_nothing():
    gradients = []
    for checkpointing in (False, True):
        transformer = new_transformer().train()
        adapter = of(new_adapter(transformer))
        shaken(adapter.injectors)
        if checkpointing:
            transformer.enable_gradient_checkpointing()
        before = getattr(transformer, "_gradient_checkpointing_func", None)
        steered(transformer, adapter, conditions(), new_step()).square().mean().backward()
        assert getattr(transformer, "_gradient_checkpointing_func", None) is before
        every = (*adapter.control.parameters(), *adapter.injectors.parameters())
        gradients.append([one.grad for one in every if one.requires_grad])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert sum(one.abs().sum() for one in gradients[0]) > 0


def test_injectors_of_another_transformer_or_id_ctrl_are_refused(transformer):
    c_id = [torch.zeros(1, 64, 4, 4)] * 2
    deeper = FlowIDInjectors.from_transformer(new_transformer(num_layers=5), 2)
    with (
        pytest.raises(UsageError, match="the injectors have 4 sites, the transformer 3"),
        attached(transformer, deeper, c_id),
    ):
        pass
    more = FlowIDInjectors.from_transformer(transformer, 3)
    with (
        pytest.raises(UsageError, match="c_id has 2 features, expected 3"),
        attached(transformer, more, c_id),
    ):
        pass


def test_they_are_saved_and_loaded_whole(transformer, tmp_path):
    injectors = shaken(FlowIDInjectors.from_transformer(transformer, 3, "gated", 3))
    injectors.save_pretrained(tmp_path)
    loaded = FlowIDInjectors.from_pretrained(tmp_path)
    assert loaded.features == injectors.features and loaded.config["form"] == "gated"
    own, its = injectors.state_dict(), loaded.state_dict()
    assert own.keys() == its.keys() and all(torch.equal(own[name], its[name]) for name in own)
