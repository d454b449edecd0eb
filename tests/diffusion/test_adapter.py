import pytest
import torch
from diffusers.models.attention_processor import Attention

from diffpc.diffusion.adapter import Adapter, Step, build_adapter
from diffpc.diffusion.backbone import build_unet
from diffpc.diffusion.decoupled import Decoupled
from diffpc.diffusion.injector import attached
from diffpc.presets import ablations, sdxl, tiny
from tests.diffusion.conftest import conditions, inputs, predict, pyramid, shaken

ROWS = ablations(tiny().adapter)
COUNTS = {
    "local": {"id_encoder": 2_623_488},
    "global": {"id_encoder": 33_619_968},
    "concat": {"id_encoder": 3_674_112},
    "ip_adapter": {"id_injectors": 6_560_640, "id_attention": 340_787_200},
    "id_ctrl": {"id_injectors": 6_560_640},
    "skin": {"id_ctrl": 1_243_390_400},
    "full": {},
}
FULL = {"id_encoder": 272_334_848, "id_ctrl": 1_243_378_880, "id_injectors": 232_515_840}


@pytest.fixture(params=ROWS)
def parts(unet, request):
    torch.manual_seed(0)
    return build_adapter(ROWS[request.param], unet)


def adapter_of(parts):
    return Adapter(parts["id_ctrl"], parts["id_injectors"], parts.get("id_attention"))


def features(batch=1):
    draw = torch.Generator().manual_seed(4)
    return torch.randn(batch, 1, 128, generator=draw), torch.randn(batch, 64, 133, generator=draw)


def awake(parts):
    for name, part in parts.items():
        shaken(part, 0.01 if name == "id_ctrl" else 0.05)
    return parts


def step(batch=1):
    return Step(*inputs(batch))


def steered(unet, parts, strength=1.0, batch=1, turned=1.0):
    """The UNet's prediction under the whole adapter, from features on."""
    adapter = adapter_of(parts)
    identity = parts["id_encoder"](*(turned * one for one in features(batch)))
    condition = adapter.condition(identity, conditions(batch).z_3d)
    with adapter.attached(unet, step(batch), condition, strength):
        return predict(unet, batch)


def test_every_row_has_the_measured_size_at_full_size():
    settings = sdxl()
    with torch.device("meta"):
        unet = build_unet(settings.backbone)
        rows = {row: build_adapter(one, unet) for row, one in ablations(settings.adapter).items()}
    for row, parts in rows.items():
        found = {name: sum(one.numel() for one in part.parameters()) for name, part in parts.items()}
        assert found == FULL | COUNTS[row], row
        assert all(one.is_meta for part in parts.values() for one in part.parameters())


def test_untrained_or_at_strength_zero_the_unet_is_the_same_bit_for_bit(unet, parts):
    with torch.no_grad():
        base = predict(unet)
        assert torch.equal(steered(unet, parts), base)
        assert torch.equal(steered(unet, awake(parts), strength=0.0), base)
        assert not torch.allclose(steered(unet, parts), base)


def test_identity_and_face_steer_every_row(unet, parts):
    awake(parts)
    with torch.no_grad():
        first = steered(unet, parts)
        assert not torch.allclose(steered(unet, parts, turned=-1.0), first)
        parts["id_ctrl"].condition_in.bias.add_(1.0)
        assert not torch.allclose(steered(unet, parts), first)


def test_each_image_may_have_its_own_strength(unet, parts):
    awake(parts)
    with torch.no_grad():
        base, whole = predict(unet, 2), steered(unet, parts, batch=2)
        mixed = steered(unet, parts, strength=torch.tensor([0.0, 1.0])[:, None, None, None], batch=2)
    assert torch.equal(mixed[0], base[0]) and torch.equal(mixed[1], whole[1])


def test_a_batch_is_its_members(unet, parts):
    awake(parts)
    with torch.no_grad():
        both = steered(unet, parts, batch=2)
        adapter = adapter_of(parts)
        identity = parts["id_encoder"](*(one[1:] for one in features(2)))
        condition = adapter.condition(identity, conditions(2).z_3d[1:])
        latents, timestep, text, added = inputs(2)
        added = {name: value[1:] for name, value in added.items()}
        with adapter.attached(unet, Step(latents[1:], timestep, text[1:], added), condition):
            alone = unet(
                latents[1:], timestep, encoder_hidden_states=text[1:], added_cond_kwargs=added
            ).sample
    assert torch.allclose(both[1:], alone, atol=1e-4)


def test_gradients_reach_every_trained_parameter_and_no_frozen_one(unet, parts):
    steered(unet, awake(parts)).square().mean().backward()
    for name, part in parts.items():
        lacking = [key for key, one in part.named_parameters() if one.grad is None or not one.grad.any()]
        assert lacking == [], name
    assert all(parameter.grad is None for parameter in unet.parameters())


def test_detaching_is_exact(unet, parts):
    awake(parts)
    own = [one.processor for one in unet.modules() if isinstance(one, Attention)]
    with torch.no_grad():
        base = predict(unet)
        steered(unet, parts)
        assert torch.equal(predict(unet), base)
    assert own == [one.processor for one in unet.modules() if isinstance(one, Attention)]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in unet.modules())


def test_checkpointed_gradients_are_the_same(unet, parts):
    awake(parts)
    found = []
    for switch in (unet.disable_gradient_checkpointing, unet.enable_gradient_checkpointing):
        switch()
        for part in parts.values():
            part.zero_grad()
        unet.train()
        steered(unet, parts).square().mean().backward()
        found.append([one.grad.clone() for part in parts.values() for one in part.parameters()])
    unet.disable_gradient_checkpointing()
    unet.eval()
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_the_full_method_is_id_ctrl_and_injectors(unet):
    parts = awake(build_adapter(tiny().adapter, unet))
    adapter, found = adapter_of(parts), conditions()
    assert adapter.attention is None
    with torch.no_grad():
        with attached(unet, parts["id_injectors"], pyramid(parts["id_ctrl"]), 0.5):
            wanted = predict(unet)
        condition = adapter.condition(found.identity, found.z_3d)
        with adapter.attached(unet, step(), condition, 0.5):
            assert torch.equal(predict(unet), wanted)
    assert condition.keys_values == ()


@pytest.mark.parametrize("row", ["full", "ip_adapter"])
def test_id_ctrl_reads_the_text_where_the_unet_reads_the_identity(unet, row):
    parts = build_adapter(ROWS[row], unet)
    adapter, found = adapter_of(parts), conditions()
    told = []
    parts["id_ctrl"].register_forward_pre_hook(lambda _module, arguments: told.append(arguments[2]))
    with torch.no_grad():
        condition = adapter.condition(found.identity, found.z_3d)
        with adapter.attached(unet, step(), condition):
            decoupled = sum(isinstance(getattr(one, "processor", None), Decoupled) for one in unet.modules())
    (tokens,) = told
    assert torch.equal(tokens, found.identity if row == "full" else step().text)
    assert decoupled == len(condition.keys_values) == (0 if row == "full" else 7)
