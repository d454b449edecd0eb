"""The contract of all forms of identity tokens, and what is particular to the linear ones."""

from dataclasses import replace
from typing import get_args, get_type_hints

import pytest
import torch

from diffpc.identity.forms import FORMS, ConcatTokens, GlobalTokens, LocalTokens
from diffpc.presets import sdxl, tiny
from diffpc.settings import AdapterSettings

NUMBERS = {"local": 7, "global": 3, "concat": 8, "id_encoder": 3}
SEES = {"local": "local", "global": "global", "concat": "both", "id_encoder": "both"}
SIZES = replace(tiny().adapter, global_width=6, local_width=5, tokens=3, layers=1, heads=2)


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


@pytest.fixture
def encoder(form):
    torch.manual_seed(0)
    return FORMS[form].from_settings(SIZES, 16).eval()


def features(batch=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 1, 6, generator=generator), torch.randn(batch, 7, 5, generator=generator)


def test_the_settings_know_every_form():
    assert set(get_args(get_type_hints(AdapterSettings)["identity"])) == set(FORMS)
    assert sdxl().adapter.identity == tiny().adapter.identity == "id_encoder"


@pytest.mark.parametrize(
    ("name", "count"),
    [("local", 2_623_488), ("global", 33_619_968), ("concat", 3_674_112), ("id_encoder", 272_334_848)],
)
def test_full_size_forms_have_the_measured_sizes(name, count):
    with torch.device("meta"):
        encoder = FORMS[name].from_settings(sdxl().adapter, 2048)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == count
    assert encoder(torch.zeros(1, 1, 512, device="meta"), torch.zeros(1, 257, 1280, device="meta")).shape == (
        1,
        {"local": 257, "concat": 258}.get(name, 32),
        2048,
    )


def test_the_call_is_the_same(form, encoder):
    assert encoder(*features()).shape == (2, NUMBERS[form], 16)


def test_each_sees_its_features_and_no_others(form, encoder):
    vector, patches = features()
    found = encoder(vector, patches)
    assert torch.equal(encoder(-vector, patches), found) == (SEES[form] == "local")
    assert torch.equal(encoder(vector, -patches), found) == (SEES[form] == "global")


def test_features_are_standardised_and_dropped_ones_stay_zeros(encoder):
    vector, patches = features()
    encoder.fit_scale(3 * vector + 5, 2 * patches - 1)
    mean, deviation = (3 * vector + 5).mean((0, 1)), (3 * vector + 5).std((0, 1))
    assert torch.allclose(encoder.global_mean, mean) and torch.allclose(encoder.global_deviation, deviation)
    seen = []
    encode = encoder.encode
    encoder.encode = lambda *standard: seen.append(standard) or encode(*standard)
    encoder(3 * vector + 5, 2 * patches - 1)
    encoder(0 * vector, 0 * patches)
    assert torch.allclose(seen[0][0], (vector - vector.mean((0, 1))) / vector.std((0, 1)), atol=1e-4)
    assert torch.allclose(seen[0][1], (patches - patches.mean((0, 1))) / patches.std((0, 1)), atol=1e-4)
    assert not any(standard.any() for standard in seen[1])


def test_nobody_is_the_same_whoever_was_dropped(encoder):
    vector, patches = features()
    nobody = encoder(0 * vector, 0 * patches)
    assert torch.allclose(nobody[0], nobody[1], atol=1e-6)


def test_the_batch_does_not_mix(encoder):
    vector, patches = features()
    assert torch.allclose(encoder(vector[1:], patches[1:]), encoder(vector, patches)[1:], atol=1e-5)


def test_gradients_reach_everything(encoder):
    encoder(*features()).square().mean().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_it_is_saved_and_loaded_whole(encoder, tmp_path):
    encoder.fit_scale(*features())
    encoder.save_pretrained(tmp_path)
    loaded = type(encoder).from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(*features()), encoder(*features()))


def by_hand(encoder):
    """pi_1: (a, b) -> a + b + 1; pi_2: c -> 10 c + 2, in every output."""
    with torch.no_grad():
        for name, weight, bias in [("project_global", 1.0, 1.0), ("project_local", 10.0, 2.0)]:
            if hasattr(encoder, name):
                getattr(encoder, name).weight.fill_(weight)
                getattr(encoder, name).bias.fill_(bias)
    encoder.global_deviation.fill_(1.0)
    return encoder(torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[5.0], [0.0]]]))[0].tolist()


def test_linear_forms_by_hand():
    one, two, three = [8.0, 8.0], [52.0, 52.0], [2.0, 2.0]  # the second patch is all zeros: dropped
    assert by_hand(LocalTokens(2, 1, 2)) == [two, three]
    assert by_hand(GlobalTokens(2, 1, 2, tokens=3)) == [one, one, one]
    assert by_hand(ConcatTokens(2, 1, 2)) == [one, two, three]


def test_global_tokens_are_consecutive_outputs():
    encoder = GlobalTokens(2, 1, 2, tokens=2)
    with torch.no_grad():
        encoder.project_global.weight.zero_()
        encoder.project_global.bias.copy_(torch.arange(4.0))
    assert encoder(torch.zeros(1, 1, 2), torch.zeros(1, 1, 1)).tolist() == [[[0.0, 1.0], [2.0, 3.0]]]
