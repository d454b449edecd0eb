import pytest
import torch

from diffpc.identity.encoder import IDEncoder


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return IDEncoder(global_width=6, local_width=5, width=16, tokens=32, layers=2, heads=4).eval()


def features(batch=2, patches=7):
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, 1, 6, generator=generator),
        torch.randn(batch, patches, 5, generator=generator),
    )


def test_one_vector_and_any_number_of_patches_become_32_tokens(encoder):
    assert encoder(*features()).shape == (2, 32, 16)
    assert encoder(*features(patches=257)).shape == (2, 32, 16)


def test_the_keys_are_both_projections_side_by_side(encoder):
    seen = []
    encoder.decoder.register_forward_hook(lambda _module, arguments, _output: seen.append(arguments))
    vector, patches = features()
    encoder(vector, patches)
    queries, keys = seen[0]
    unit = vector * 6**0.5  # a vector of length 1 becomes one of unit variance
    assert torch.allclose(keys[:, :1], encoder.project_global(unit), atol=1e-6)  # Eq. 8
    assert torch.equal(keys[:, 1:], encoder.project_local(patches))  # Eq. 9
    assert torch.equal(queries, encoder.queries.expand(2, -1, -1))


def test_fitted_it_sees_standardised_features(encoder):
    vectors = torch.tensor([[[1.0, 2, 3, 4, 5, 6]], [[3.0, 2, 5, 4, 7, 6]]])
    patches = torch.tensor([[[0.0, 1, 1, 1, 1]], [[2.0, 1, 1, 1, 1]]])
    encoder.fit_scale(vectors, patches)
    seen = []
    encoder.project_global.register_forward_hook(lambda _m, arguments, _o: seen.append(arguments[0]))
    encoder.project_local.register_forward_hook(lambda _m, arguments, _o: seen.append(arguments[0]))
    encoder(vectors, patches)
    root = 0.5**0.5  # (1 - 2) / std of 1 and 3
    assert torch.allclose(
        seen[0][:, 0], torch.tensor([[-root, 0, -root, 0, -root, 0], [root, 0, root, 0, root, 0]])
    )
    assert torch.allclose(seen[1][:, 0], torch.tensor([[-root, 0, 0, 0, 0], [root, 0, 0, 0, 0]]))


def test_dropped_features_stay_zeros_however_it_is_fitted(encoder):
    vector, patches = features()
    encoder.fit_scale(vector + 5, patches + 5)
    seen = []
    encoder.project_global.register_forward_hook(lambda _m, arguments, _o: seen.append(arguments[0]))
    encoder(0 * vector, patches)
    assert torch.equal(seen[0], torch.zeros_like(vector))


def test_every_input_matters_and_the_order_of_patches_does_not(encoder):
    vector, patches = features()
    found = encoder(vector, patches)
    assert not torch.allclose(encoder(0 * vector, patches), found)
    assert not torch.allclose(encoder(vector, 0 * patches), found)
    assert torch.allclose(encoder(vector, patches.flip(1)), found, atol=1e-5)


def test_the_batch_does_not_mix(encoder):
    vector, patches = features()
    assert torch.allclose(encoder(vector[1:], patches[1:]), encoder(vector, patches)[1:], atol=1e-5)


def test_the_decoder_is_vanilla_and_pre_norm(encoder):
    layer = encoder.decoder.layers[0]
    assert layer.norm_first and layer.self_attn.dropout == 0 and layer.linear1.out_features == 4 * 16


def test_layers_do_not_start_as_copies_of_one_another(encoder):
    first, second = (layer.linear1.weight for layer in encoder.decoder.layers)
    assert not torch.equal(first, second)


def test_gradients_reach_everything(encoder):
    encoder(*features()).square().mean().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert encoder.queries.grad.abs().sum() > 0


def test_it_is_saved_and_loaded_whole(encoder, tmp_path):
    encoder.fit_scale(*features())
    encoder.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(IDEncoder.from_pretrained(tmp_path)(*features()), encoder(*features()))
