import pytest
import torch

from diffpc.diffusion.backbone import build_unet
from diffpc.diffusion.control import IDCtrl
from diffpc.diffusion.injector import AdditiveInjector, IDInjector, IDInjectors, attached
from diffpc.presets import sdxl
from tests.diffusion.conftest import inputs, predict, pyramid, shaken


def hooks(network):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


@pytest.mark.parametrize(
    ("form", "kernel", "count"),
    [("residual", 3, 232_515_840), ("residual", 1, 32_631_040), ("additive", 3, 6_560_640)],
)
def test_full_size_injectors_have_the_measured_sizes(form, kernel, count):
    with torch.device("meta"):
        injectors = IDInjectors.from_unet(build_unet(sdxl().backbone), form=form, kernel=kernel)
    assert sum(parameter.numel() for parameter in injectors.parameters()) == count
    assert injectors.config["widths"] == [
        (1280, 1280, 0),
        (1280, 1280, 1280),
        (1280, 1280, 1280),
        (640, 1280, 640),
        (640, 1280, 640),
        (640, 640, 640),
        (320, 640, 320),
        (320, 640, 320),
        (320, 320, 320),
        (320, 320, 320),
    ]
    assert injectors.places == [(block, position) for block in range(3) for position in range(3)]


def test_per_block_keeps_the_middle_and_three_boundaries():
    with torch.device("meta"):
        injectors = IDInjectors.from_unet(build_unet(sdxl().backbone), sites="per_block")
    assert injectors.places == [(0, 0), (1, 0), (2, 0)]
    assert injectors.config["widths"] == [
        (1280, 1280, 0),
        (1280, 1280, 1280),
        (640, 1280, 640),
        (320, 640, 320),
    ]


# One pixel wide, so that everything can be computed by hand: z_d = (1, 3), z_e = (5, 7), one group over all.
X = torch.tensor([1.0, 3.0, 5.0, 7.0]).view(1, 4, 1, 1)
C = torch.tensor([2.0]).view(1, 1, 1, 1)


def by_hand(form, gate=0.5):
    """align: c -> (2c, 0) = (4, 0); phi = 0.5 everywhere; mu = (0, 1, 2, 3)."""
    injector = IDInjector((1, 2, 2), groups=1, kernel=1, form=form)
    with torch.no_grad():
        injector.align.weight[:, 0, 0, 0] = torch.tensor([2.0, 0.0])
        injector.modulation.bias[:4] = 0.5
        injector.modulation.bias[4:] = torch.arange(4.0)
        if injector.gate is not None:
            injector.gate.fill_(gate)
    return injector


def normalised(values):
    values = torch.tensor(values)
    return (values - values.mean()) / (values.var(unbiased=False) + 1e-5).sqrt()


MU = torch.arange(4.0)


def test_the_paper_form_is_equations_15_to_17():
    wanted = 1.5 * normalised([5.0, 3.0, 5.0, 7.0]) + MU  # (1 + phi) * GN(concat(z_d + c_id, z_e)) + mu
    found = by_hand("paper")(X, C, 1.0).flatten()
    assert torch.allclose(found, wanted, atol=1e-5)
    between = by_hand("paper")(X, C, 0.25).flatten()
    assert torch.allclose(between, 0.75 * X.flatten() + 0.25 * wanted, atol=1e-5)


def test_the_gated_form_goes_from_the_base_to_the_equation():
    y = 1.5 * normalised([5.0, 3.0, 5.0, 7.0]) + MU
    x = X.flatten()
    for strength, gate in [(1.0, 0.5), (0.5, 1.0), (2.0, 0.5)]:
        found = by_hand("gated", gate)(X, C, strength).flatten()
        assert torch.allclose(found, x + strength * gate * (y - x), atol=1e-5)


def test_the_residual_form_adds_to_the_shifted_state():
    for strength in (1.0, 0.5):
        shifted = torch.tensor([1 + 4 * strength, 3.0, 5.0, 7.0])
        wanted = shifted + strength * (0.5 * normalised(shifted.tolist()) + MU)
        assert torch.allclose(by_hand("residual")(X, C, strength).flatten(), wanted, atol=1e-5)


def test_the_additive_form_adds_to_the_skip_or_to_the_middle():
    """align: c -> (2c, -c) = (4, -2), for the skip's two channels as for the middle block's."""
    for widths, x, wanted in [
        ((1, 2, 2), X, [1.0, 3.0, 5.0 + 4.0 / 2, 7.0 - 2.0 / 2]),
        ((1, 2, 0), X[:, :2], [1.0 + 4.0 / 2, 3.0 - 2.0 / 2]),
    ]:
        injector = AdditiveInjector(widths)
        with torch.no_grad():
            injector.align.weight[:, 0, 0, 0] = torch.tensor([2.0, -1.0])
        assert injector(x, C, 0.5).flatten().tolist() == wanted


def test_the_additive_form_is_the_librarys_controlnet(unet, control):
    injectors = shaken(IDInjectors.from_unet(unet, form="additive"))
    latents, timestep, text, added = inputs()
    with torch.no_grad():
        c_id = pyramid(control)
        middle, *sites = (
            0.5 * one.align(c) for one, c in zip(injectors.injectors, reversed(c_id), strict=True)
        )
        wanted = unet(
            latents,
            timestep,
            encoder_hidden_states=text,
            added_cond_kwargs=added,
            down_block_additional_residuals=tuple(reversed(sites)),
            mid_block_additional_residual=middle,
        ).sample
        with attached(unet, injectors, c_id, 0.5):
            assert torch.equal(predict(unet), wanted)


def test_phi_and_mu_are_convolutions_of_c_id():
    injector = IDInjector((1, 1, 0), groups=1, kernel=3, form="residual")
    with torch.no_grad():
        injector.modulation.weight[1, 0, 1, 2] = 1.0  # mu: the right neighbour's c_id
    c_id = torch.arange(4.0).view(1, 1, 1, 4)
    found = injector(torch.zeros(1, 1, 1, 4), c_id, 1.0)
    assert found.flatten().tolist() == [1.0, 2.0, 3.0, 0.0]


@pytest.mark.parametrize("form", ["gated", "residual", "additive"])
def test_untrained_they_are_the_identity_bit_for_bit(unet, control, form):
    injectors = IDInjectors.from_unet(unet, form=form)
    with torch.no_grad():
        base = predict(unet)
        with attached(unet, injectors, pyramid(control), 1.0):
            assert torch.equal(predict(unet), base)


def test_the_untrained_paper_form_is_not(unet, control):
    injectors = IDInjectors.from_unet(unet, form="paper")
    with torch.no_grad():
        base = predict(unet)
        with attached(unet, injectors, pyramid(control), 1.0):
            assert not torch.equal(predict(unet), base)


def test_strength_zero_is_the_identity_bit_for_bit(unet, control, injectors):
    with torch.no_grad():
        base = predict(unet)
        c_id = pyramid(control)
        with attached(unet, injectors, c_id, 0.0):
            assert torch.equal(predict(unet), base)
        with attached(unet, injectors, c_id, 1.0):
            assert not torch.allclose(predict(unet), base)


def test_detaching_leaves_nothing_behind(unet, control, injectors):
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    with torch.no_grad():
        base = predict(unet)
        c_id = pyramid(control)
        with attached(unet, injectors, c_id):
            assert hooks(unet) == 1 + len(injectors.places)
            predict(unet)
        with pytest.raises(KeyError), attached(unet, injectors, c_id):
            raise KeyError
        assert hooks(unet) == 0
        assert torch.equal(predict(unet), base)
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())


def test_contexts_nest(unet, control, injectors):
    other = shaken(IDInjectors.from_unet(unet, kernel=1), seed=5)
    with torch.no_grad():
        c_id = pyramid(control)
        with attached(unet, injectors, c_id):
            once = predict(unet)
            with attached(unet, other, c_id):
                assert not torch.equal(predict(unet), once)
            assert torch.equal(predict(unet), once)


def test_a_pyramid_of_another_unet_is_refused(unet, control, injectors):
    c_id = pyramid(control)
    with pytest.raises(ValueError, match="c_id has 6 features, expected 7"):
        attached(unet, injectors, c_id[1:]).__enter__()
    assert hooks(unet) == 0


def test_gradients_reach_the_adapter_and_the_frozen_encoder_holds_no_graph(unet, control, injectors):
    graphs = []
    blocks = [unet.conv_in, *unet.down_blocks, *unet.mid_block.resnets]
    handles = [
        block.register_forward_hook(lambda _module, _args, output: graphs.append(output)) for block in blocks
    ]
    with attached(unet, injectors, pyramid(control)):
        prediction = predict(unet)
    for handle in handles:
        handle.remove()
    prediction.square().mean().backward()
    outputs = [value[0] if isinstance(value, tuple) else value for value in graphs]
    assert len(outputs) == len(blocks)
    assert all(value.grad_fn is None and not value.requires_grad for value in outputs)
    assert all(parameter.grad is None for parameter in unet.parameters())
    for network in (injectors, control):
        assert all(parameter.grad is not None for parameter in network.parameters())
    assert control.condition_in.weight.grad.abs().sum() > 0
    assert all(one.align.weight.grad.abs().sum() > 0 for one in injectors.injectors)
    modulations = [one.modulation for one in injectors.injectors if hasattr(one, "modulation")]
    assert all(one.weight.grad.abs().sum() > 0 for one in modulations)


def test_checkpointed_gradients_are_the_same_after_the_context(unet, injectors):
    found = []
    control = shaken(IDCtrl.from_unet(unet), 0.01)
    for checkpointed in (False, True):
        (unet.enable_gradient_checkpointing if checkpointed else unet.disable_gradient_checkpointing)()
        injectors.zero_grad()
        own = [block._gradient_checkpointing_func for block in unet.up_blocks] if checkpointed else []
        with attached(unet.train(), injectors, pyramid(control)):
            prediction = predict(unet)
        prediction.square().mean().backward()  # outside: checkpointed layers run again here
        found.append([parameter.grad.clone() for parameter in injectors.parameters()])
        assert own == [block._gradient_checkpointing_func for block in unet.up_blocks][: len(own)]
    unet.disable_gradient_checkpointing()
    unet.eval()
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_injectors_are_saved_and_loaded_whole(unet, control, injectors, tmp_path):
    injectors.save_pretrained(tmp_path)
    loaded = IDInjectors.from_pretrained(tmp_path)
    assert loaded.places == injectors.places
    with torch.no_grad():
        c_id = pyramid(control)
        with attached(unet, injectors, c_id):
            wanted = predict(unet)
        with attached(unet, loaded, c_id):
            assert torch.equal(predict(unet), wanted)
