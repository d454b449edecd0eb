from dataclasses import replace

import pytest
import torch
from diffusers import SD3Transformer2DModel

from diffpc.diffusion.backbone import TextCondition
from diffpc.diffusion.flow.adapter import FlowStep
from diffpc.errors import UsageError
from diffpc.presets import ablations, sdxl
from tests.diffusion.flow.conftest import (
    SETTINGS,
    WIDTH,
    conditions,
    new_adapter,
    new_step,
    new_transformer,
    of,
    steered,
)

SD3_MEDIUM = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}
"""transformer/config.json of stable-diffusion-3-medium-diffusers, from memory of it."""


@pytest.mark.parametrize("beside_text", [False, True])
def test_gradients_reach_every_parameter_of_the_adapter_after_one_step_and_none_of_the_base(beside_text):
    transformer = new_transformer()
    settings = replace(SETTINGS, skin=True)
    parts = new_adapter(transformer, settings, beside_text=beside_text, layers=3)
    parameters = [one for part in parts.values() for one in part.parameters()]
    optimiser = torch.optim.SGD(parameters, lr=0.1)
    told, step = conditions(2), new_step(2)
    features = torch.randn(2, 1, 16), torch.randn(2, 7, 20)
    for _ in range(2):  # zero layers let the first step through to the injectors alone
        optimiser.zero_grad()
        condition = replace(told, identity=parts["id_encoder"](*features), z_skin=-told.z_3d)
        steered(transformer, of(parts), condition, step).square().mean().backward()
        optimiser.step()
    silent = [
        f"{name}.{key}"
        for name, part in parts.items()
        for key, parameter in part.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    unread = "id_ctrl.transformer_blocks.2.attn.add_q_proj"
    assert silent == [f"{unread}.weight", f"{unread}.bias"]
    assert not any(one.requires_grad for one in parts["id_ctrl"].get_submodule(unread[8:]).parameters())
    assert all(parameter.grad is None for parameter in transformer.parameters())


def test_identity_face_and_skin_steer_a_trained_adapter(transformer):
    adapter = of(new_adapter(transformer, replace(SETTINGS, skin=True)))
    with torch.no_grad():
        for parameter in (*adapter.injectors.parameters(), *adapter.control.condition_in.parameters()):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(8)))
        told, step = conditions(), new_step()
        base = steered(transformer, adapter, told, step)
        for other in (
            replace(told, identity=-told.identity),
            replace(told, z_3d=-told.z_3d),
            replace(told, z_skin=told.z_3d),
        ):
            assert not torch.allclose(steered(transformer, adapter, other, step), base, atol=1e-4)


@pytest.mark.parametrize(("row", "name"), [("ip_adapter", "control"), ("per_block", "sites")])
def test_forms_that_only_a_unet_has_are_refused(transformer, row, name):
    settings = {
        "ip_adapter": replace(SETTINGS, control="ip_adapter"),
        "per_block": replace(SETTINGS, sites="per_block"),
    }[row]
    with pytest.raises(UsageError, match=f"{name} is '{row}', which only a UNet has"):
        new_adapter(transformer, settings)


@pytest.mark.parametrize("row", ["local", "global", "concat"])
def test_the_rows_of_table_4_carry_over(transformer, row):
    settings = replace(SETTINGS, identity=ablations(SETTINGS)[row].identity)
    parts = new_adapter(transformer, settings)
    tokens = parts["id_encoder"](torch.randn(1, 1, 16), torch.randn(1, 7, 20))
    assert tokens.shape[-1] == WIDTH
    told, step = replace(conditions(), identity=tokens), new_step()
    with torch.no_grad():
        assert torch.equal(steered(transformer, of(parts), told, step), step.predict(transformer))


def test_at_sd3s_size_it_has_the_documented_sizes():
    """docs/design/flow.md; counted by hand: 36 W^2 a block, 3 W^2 an injector, and what is small beside it."""
    with torch.device("meta"):
        transformer = SD3Transformer2DModel(**SD3_MEDIUM).requires_grad_(False)
        parts = new_adapter(transformer, replace(sdxl().adapter, kernel=1))
        adapter, step = (
            of(parts),
            FlowStep(
                torch.empty(2, 16, 128, 128),
                torch.empty(2),
                TextCondition(torch.empty(2, 333, 4096), torch.empty(2, 2048)),
            ),
        )
        condition = adapter.condition(torch.empty(2, 32, 1536), torch.empty(2, 16, 128, 128))
        c_id = adapter.control(
            step.z_t, step.timesteps, condition.identity, condition.embedded, step.text.pooled
        )
        with adapter.attached(transformer, step, condition):
            assert step.predict(transformer).shape == (2, 16, 128, 128)
    assert len(c_id) == 12 and all(one.shape == (2, 1536, 64, 64) for one in c_id)
    counts = {name: part.num_parameters() for name, part in parts.items()}
    assert transformer.num_parameters() == 2_028_328_000
    assert counts == {"id_encoder": 153_919_488, "id_ctrl": 997_545_984, "id_injectors": 162_968_064}
    # per block, with biases: modulations 12, attention 8, feed-forwards 16 W^2
    width = 1536
    block = 36 * width**2 + (12 + 8 + 10) * width
    last = block - (4 + 1 + 8) * width**2 - (4 + 1 + 5) * width
    time_and_text = (256 + 2048 + 2 * width) * width + 4 * width
    patches = 2 * (16 * 4 * width + width)
    assert counts["id_ctrl"] == 11 * block + last + time_and_text + patches
    assert counts["id_injectors"] == 23 * (3 * width**2 + 3 * width + 2 * width)
