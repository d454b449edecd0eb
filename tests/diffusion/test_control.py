import torch

from diffpc.diffusion.backbone import build_unet
from diffpc.diffusion.control import COPIED, IDCtrl
from diffpc.presets import sdxl
from tests.diffusion.conftest import conditions, inputs, pyramid


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def test_at_full_size_it_has_the_measured_size():
    settings = sdxl()
    with torch.device("meta"):
        control = IDCtrl.from_unet(build_unet(settings.backbone))
    assert parameters(control) == 1_243_378_880
    assert all(parameter.is_meta for parameter in control.parameters())


def test_from_unet_copies_the_weights_and_their_type(unet):
    control = IDCtrl.from_unet(unet)
    weights = unet.state_dict()
    own = control.state_dict()
    assert {name for name in own if name not in weights} == {"condition_in.weight", "condition_in.bias"}
    assert all(torch.equal(own[name], weights[name]) for name in own if name in weights)
    assert {name for name in weights if name.split(".")[0] in COPIED} <= set(own)
    assert all(parameter.requires_grad for parameter in control.parameters())
    assert IDCtrl.from_unet(unet.to(torch.bfloat16)).dtype == torch.bfloat16
    unet.to(torch.float32).load_state_dict(weights)


def test_a_copy_shares_no_memory(unet):
    control = IDCtrl.from_unet(unet)
    with torch.no_grad():
        control.conv_in.weight.add_(1)
    assert not torch.equal(control.conv_in.weight, unet.conv_in.weight)


def test_untrained_it_is_the_unets_own_encoder(unet):
    control = IDCtrl.from_unet(unet).eval()
    latents, timestep, text, added = inputs()
    assert control.condition_in.weight.count_nonzero() == 0
    assert control.condition_in.bias.count_nonzero() == 0
    seen = {}
    handles = [
        unet.up_blocks[0].register_forward_pre_hook(
            lambda _module, _args, kwargs: seen.update(kwargs), with_kwargs=True
        ),
        unet.conv_in.register_forward_hook(lambda *args: seen.update(first=args[-1])),
        unet.mid_block.register_forward_hook(lambda *args: seen.update(middle=args[-1])),
    ]
    with torch.no_grad():
        unet(latents, timestep, encoder_hidden_states=text, added_cond_kwargs=added)
        c_id = control(latents, timestep, text, control.embed_condition(conditions().z_3d), added)
    for handle in handles:
        handle.remove()
    assert torch.equal(c_id[0], seen["first"])
    assert torch.equal(c_id[-1], seen["middle"])
    last = seen["res_hidden_states_tuple"]
    assert all(torch.equal(mine, its) for mine, its in zip(c_id[-1 - len(last) : -1], last, strict=True))
    assert len(c_id) == 7  # tiny: 3 levels of one ResNet, two downsamplers, conv_in, middle


def test_the_condition_is_added_to_the_first_map_and_so_to_every_feature(unet):
    control = IDCtrl.from_unet(unet)
    latents, timestep, text, added = inputs()
    condition = torch.ones(1, 64, 8, 8)
    with torch.no_grad():
        plain = control(latents, timestep, text, torch.zeros_like(condition), added)
        moved = control(latents, timestep, text, condition, added)
    assert torch.equal(moved[0], plain[0] + 1)
    assert all(not torch.equal(one, other) for one, other in zip(plain, moved, strict=True))


def test_gradients_reach_the_condition_and_every_weight(unet):
    control = IDCtrl.from_unet(unet)
    sum(feature.square().mean() for feature in pyramid(control)).backward()
    assert all(parameter.grad is not None for parameter in control.parameters())
    assert control.condition_in.weight.grad.abs().sum() > 0


def test_gradient_checkpointing_changes_nothing(unet):
    plain, checkpointed = IDCtrl.from_unet(unet), IDCtrl.from_unet(unet)
    checkpointed.enable_gradient_checkpointing()
    for control in (plain, checkpointed):
        pyramid(control.train())[-1].square().mean().backward()
    assert torch.equal(plain.conv_in.weight.grad, checkpointed.conv_in.weight.grad)


def test_it_is_saved_and_loaded_whole(unet, control, tmp_path):
    control.save_pretrained(tmp_path)
    loaded = IDCtrl.from_pretrained(tmp_path)
    with torch.no_grad():
        pairs = zip(pyramid(control.eval()), pyramid(loaded), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_skin_enters_beside_z_3d(unet):
    control = IDCtrl.from_unet(unet, skin=True)
    assert control.condition_in.weight.shape[1] == 32 and control.config["skin"]
    torch.nn.init.normal_(control.condition_in.weight)
    z_3d = conditions().z_3d
    zeros = torch.zeros_like(z_3d)
    assert torch.equal(control.embed_condition(z_3d), control.embed_condition(z_3d, zeros))
    told = control.embed_condition(z_3d, z_3d)
    wanted = torch.nn.functional.conv2d(torch.cat([z_3d, z_3d], 1), control.condition_in.weight, padding=1)
    assert torch.allclose(told, wanted, atol=1e-5)
    plain = IDCtrl.from_unet(unet)
    assert not plain.config["skin"] and torch.equal(
        plain.embed_condition(z_3d, z_3d), plain.embed_condition(z_3d)
    )
