import pytest
import torch

from diffpc.train.phrases import EXCLUDED, Group, Phrases

PHRASES = Phrases()
SMALL = Phrases((Group(("young", "old|elderly")), Group(("hat",)), Group(("red behind",), personal=False)))


def asked(prompt):
    return {
        name: value
        for name, value in zip(PHRASES.names, PHRASES.asked(prompt).tolist(), strict=True)
        if value
    }


@pytest.mark.parametrize(
    ("prompt", "values"),
    [
        ("", [0, 0, 0, 0]),
        ("An Elderly woman with a hat", [EXCLUDED, 1, 1, 0]),
        ("a young man, red behind", [1, EXCLUDED, 0, 1]),
        ("a person without a hat", [0, 0, -1, 0]),
        ("a hatter on a golden chair", [0, 0, 0, 0]),  # whole words only
    ],
)
def test_a_prompt_asks_denies_or_is_silent(prompt, values):
    assert SMALL.asked(prompt).tolist() == pytest.approx(values)


def test_denials_may_be_joined():
    assert asked("someone without a hat, glasses or a beard, smiling") == {
        "hat": -1,
        "glasses": -1,
        "beard": -1,
    }
    assert asked("a clean-shaven person with glasses") == {"beard": -1, "glasses": 1}


def test_one_of_a_group_excludes_the_others():
    found = asked("a portrait photo of a person with blond hair")
    others = ("black hair", "brown hair", "grey hair", "bald head")
    assert found == pytest.approx({"blond hair": 1, **dict.fromkeys(others, EXCLUDED)})


def test_other_wordings_are_the_same_phrase():
    assert asked("gray hair, darkness behind") == asked("grey hair with a black background")


def test_a_photo_shows_what_any_caption_says():
    captions = ("a man", "a person with a hat", "photo of someone without glasses")
    found = dict(zip(PHRASES.names, PHRASES.shown(captions).tolist(), strict=True))
    assert {name for name, value in found.items() if value} == {"man", "hat"}
    assert torch.equal(PHRASES.shown(()), torch.zeros(len(PHRASES.names)))


def test_backgrounds_are_not_the_persons():
    kept = dict(zip(PHRASES.names, PHRASES.personal.tolist(), strict=True))
    assert kept["beard"] == 1 and kept["blue background"] == 0 and kept["suit and tie"] == 0
