import pytest
import torch

from diffpc.errors import UsageError
from diffpc.face3d.light import load_light_model
from diffpc.face3d.presets import EXPRESSIONS, preset
from tests.face3d.test_model import small_flame


@pytest.mark.parametrize("name", sorted(EXPRESSIONS))
def test_the_light_model_shows_every_preset(name):
    model = load_light_model()
    assert len(preset(name, model).expression) == model.sizes.expression


def test_presets_differ():
    model = load_light_model()
    shown = torch.stack([preset(name, model).expression for name in EXPRESSIONS])
    assert torch.pdist(shown).min() > 0.1


def test_flame_shows_jaw_and_eyelids_only():
    model = small_flame()
    assert preset("open_mouth", model).jaw[0] > 0.2
    assert preset("wink", model).eyelid.tolist() == pytest.approx([0.9, 0.0])
    for name in ("neutral", "eyes_closed"):
        preset(name, model)
    with pytest.raises(UsageError, match="cannot show"):
        preset("smile", model)


def test_unknown_names_list_the_known():
    with pytest.raises(UsageError, match="'sneeze'; choose one of: neutral, smile"):
        preset("sneeze", load_light_model())
