import pytest
import torch
from diffusers import SD3ControlNetModel

from diffpc.diffusion.flow.control import FlowIDCtrl
from diffpc.errors import UsageError
from tests.diffusion.conftest import shaken
from tests.diffusion.flow.conftest import conditions, new_step, new_transformer

KINDS = {
    "sd3": {},
    "sd3.5": {"qk_norm": "rms_norm", "dual_attention_layers": (0, 1, 2)},
}


def features(control, told=None, step=None, tokens=None):
    told, step = told or conditions(), step or new_step()
    condition = control.embed_condition(told.z_3d, told.z_skin)
    text = step.text.tokens if control.config["beside_text"] else None
    identity = told.identity if tokens is None else tokens
    return control(step.z_t, step.timesteps, identity, condition, step.text.pooled, text)


def behind_blocks(transformer, step):
    """The frozen transformer's own image tokens behind each block."""
    seen = []
    handles = [
        block.register_forward_hook(lambda _module, _args, output: seen.append(output[1]))
        for block in transformer.transformer_blocks
    ]
    step.predict(transformer)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 3])
def test_told_the_text_alone_it_is_the_transformers_own_first_blocks(kind, layers):
    transformer = shaken(new_transformer(**KINDS[kind]), 0.02)
    control, step = FlowIDCtrl.from_transformer(transformer, layers).eval(), new_step(2)
    with torch.no_grad():
        found = features(control, conditions(2), step, transformer.context_embedder(step.text.tokens))
        wanted = behind_blocks(transformer, step)
    assert len(found) == layers
    for one, other in zip(found, wanted, strict=False):
        assert one.shape == (2, 64, 4, 4)
        assert torch.allclose(one.flatten(2).transpose(1, 2), other, atol=1e-5)


def test_places_are_those_of_the_latents(transformer):
    """Row 2, column 5 of the latents lies in the patch of row 1, column 2."""
    control = FlowIDCtrl.from_transformer(transformer)
    torch.nn.init.ones_(control.condition_in.weight)
    z_3d = torch.zeros(1, 4, 6, 8)
    z_3d[:, :, 2, 5] = 1
    found = control.embed_condition(z_3d)
    assert found.shape == (1, 64, 3, 4)
    assert found[0, 0].nonzero().tolist() == [[1, 2]] and found[0, 0, 1, 2] == 4  # channels


def test_a_copy_has_the_weights_and_shares_no_memory(transformer):
    control = FlowIDCtrl.from_transformer(transformer)
    own, weights = control.state_dict(), transformer.state_dict()
    assert {name for name in own if name not in weights} == {"condition_in.weight", "condition_in.bias"}
    last = "transformer_blocks.1.norm1_context.linear.weight"
    differs = {name for name in own if name in weights and not torch.equal(own[name], weights[name])}
    assert differs == {last, last.replace("weight", "bias")}
    shift, scale = weights[last].chunk(6)[:2]
    assert torch.equal(own[last], torch.cat([scale, shift]))
    with torch.no_grad():
        control.pos_embed.proj.weight.add_(1)
    assert not torch.equal(control.pos_embed.proj.weight, transformer.pos_embed.proj.weight)
    frozen = {name for name, parameter in control.named_parameters() if not parameter.requires_grad}
    assert frozen == {f"transformer_blocks.1.attn.add_q_proj.{part}" for part in ("weight", "bias")}


def test_it_is_as_large_as_the_librarys_controlnet_but_for_what_it_leaves_out():
    """The library's has zero layers, the text's embedding and a last block that answers the tokens."""
    transformer = new_transformer()  # its own: the library writes into its config
    ours = FlowIDCtrl.from_transformer(transformer, 2)
    theirs = SD3ControlNetModel.from_transformer(
        transformer, 2, num_extra_conditioning_channels=0, load_weights_from_transformer=False
    )
    width, text = 64, 48
    zero_layers = 2 * (width * width + width)
    embedder = text * width + width
    answer = 4 * (width * width + width) + (width * width + width)  # modulations, to_add_out
    answer += 8 * width * width + 5 * width  # feed-forward
    assert theirs.num_parameters() - ours.num_parameters() == zero_layers + embedder + answer


def test_within_meta_it_has_sizes_only(transformer):
    with torch.device("meta"):
        control = FlowIDCtrl.from_transformer(transformer)
    assert all(parameter.is_meta for parameter in control.parameters())
    real = FlowIDCtrl.from_transformer(transformer)
    assert {name: value.shape for name, value in control.state_dict().items()} == {
        name: value.shape for name, value in real.state_dict().items()
    }


def test_it_takes_the_transformers_type():
    assert FlowIDCtrl.from_transformer(new_transformer().to(torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("layers", [0, 4])
def test_blocks_that_are_not_there_are_not_copied(transformer, layers):
    with pytest.raises(UsageError, match=f"layers is {layers}, expected 1 to 3"):
        FlowIDCtrl.from_transformer(transformer, layers)


def test_skin_enters_beside_z_3d(transformer):
    control = FlowIDCtrl.from_transformer(transformer, skin=True)
    assert control.condition_in.weight.shape == (64, 8, 2, 2)
    torch.nn.init.normal_(control.condition_in.weight)
    z_3d = conditions().z_3d
    assert torch.equal(control.embed_condition(z_3d), control.embed_condition(z_3d, torch.zeros_like(z_3d)))
    assert not torch.equal(control.embed_condition(z_3d), control.embed_condition(z_3d, z_3d))
    plain = FlowIDCtrl.from_transformer(transformer)
    torch.nn.init.normal_(plain.condition_in.weight)
    assert torch.equal(plain.embed_condition(z_3d), plain.embed_condition(z_3d, z_3d))


def test_beside_the_text_it_reads_both(transformer):
    control, told, step = FlowIDCtrl.from_transformer(transformer, beside_text=True), conditions(), new_step()
    with torch.no_grad():
        found = features(control, told, step)[-1]
        other_text = features(control, told, new_step(told=conditions(seed=9)))[-1]
        other_person = features(control, told, step, -told.identity)[-1]
    assert not torch.allclose(found, other_text) and not torch.allclose(found, other_person)
    alone = FlowIDCtrl.from_transformer(transformer)
    assert not any(name.startswith("context_embedder") for name in alone.state_dict())


def test_gradient_checkpointing_changes_nothing(transformer):
    plain, checkpointed = (FlowIDCtrl.from_transformer(transformer).train() for _ in range(2))
    checkpointed.enable_gradient_checkpointing()
    for control in (plain, checkpointed):
        features(control)[-1].square().mean().backward()
    assert plain.pos_embed.proj.weight.grad.abs().sum() > 0
    assert torch.equal(plain.pos_embed.proj.weight.grad, checkpointed.pos_embed.proj.weight.grad)


@pytest.mark.parametrize("beside_text", [False, True])
def test_it_is_saved_and_loaded_whole(transformer, tmp_path, beside_text):
    control = FlowIDCtrl.from_transformer(transformer, skin=True, beside_text=beside_text)
    shaken(control).eval().save_pretrained(tmp_path)
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".json", ".safetensors"]
    loaded = FlowIDCtrl.from_pretrained(tmp_path)
    with torch.no_grad():
        pairs = list(zip(features(control), features(loaded), strict=True))
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)
    own, its = control.state_dict(), loaded.state_dict()
    assert own.keys() == its.keys() and all(torch.equal(own[name], its[name]) for name in own)
