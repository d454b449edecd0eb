import random

import numpy as np
import pytest

from diffpc.curate.grammar import description, sentence, sentences
from diffpc.curate.traits import Traits, background_of, emotion_of, traits_of

ROW = {
    "gender": "woman",
    "age": "60",
    "young": "0.1",
    "gray_hair": "0.9",
    "eyeglasses": "0.8",
    "no_beard": "0.99",
}
ROW |= {"expression_crowd": "happiness", "expression_model": "sad"}


def texts(traits, plain=False):
    return {sentence(traits, random.Random(seed), plain) for seed in range(300)}


def test_a_table_is_put_into_words():
    traits = traits_of(ROW, {"yaw": 30.0, "mouth_open": 0.6}, np.full((64, 64, 3), (20, 40, 200), np.uint8))
    assert traits == Traits(
        "woman", "old", ("grey hair", "glasses"), "happiness", ("mouth_open",), "right", "blue", ("a beard",)
    )
    assert description(traits) == "a photo of an old woman with grey hair and glasses"
    said = " | ".join(texts(traits))
    for word in ("grey hair and glasses", "elderly woman", "smiling", "blue", "open mouth", "to the right"):
        assert word in said


def test_nothing_is_said_that_is_not_known():
    assert traits_of({}, {}, None) == Traits()
    for text in texts(Traits()):
        assert not {"man", "woman", "young", "old", "hair", "smiling", "background"} & set(text.split())
    assert description(Traits()) == "a photo of a person"


def test_a_man_is_called_a_person_now_and_then():
    said = [text.split() for text in texts(Traits("man", "young", ("a hat",)))]
    nameless = [text for text in said if "person" in text]
    assert 0.2 < len(nameless) / len(said) < 0.5 and not any("man" in text for text in nameless)
    assert any("hat" in text and "young" in text for text in nameless)


def test_what_surely_is_not_there_is_denied_now_and_then():
    row = {"eyeglasses": "0.02", "wearing_hat": "0.3", "no_beard": "0.99"}
    traits = traits_of(row, {}, None)
    assert traits.lacks == ("glasses", "a beard")  # of the hat nobody is sure
    said = [sentence(traits, random.Random(seed)) for seed in range(300)]
    denied = [text for text in said if "without" in text]
    assert 0.05 < len(denied) / len(said) < 0.5 and not any("hat" in text for text in said)
    assert any("without glasses or a beard" in text for text in denied)
    assert not any("without" in text for text in texts(traits, plain=True))
    assert traits_of({}, {}, None).lacks == ()


def test_a_plain_sentence_tells_nothing_of_who_is_seen():
    traits = Traits("man", "old", ("a beard",), "anger", (), "left", "red")
    said = " | ".join(texts(traits, plain=True))
    assert "beard" not in said and " man" not in said and "old" not in said
    assert "angry" in said and "red" in said and "left" in said


def test_the_first_say_who_and_the_last_do_not():
    found = sentences(Traits("man"), 5, 2, random.Random(0))
    assert [" man" in f" {text}" for text in found] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("measures", "expected"),
    [
        ({"smile": 0.8}, ("smile", (), "")),
        ({"smile": 0.2, "yaw": -50.0}, ("", (), "left_profile")),
        ({"pitch": -25.0, "eyes_closed": 0.9}, ("", ("eyes_closed",), "down")),
    ],
)
def test_own_measures(measures, expected):
    traits = traits_of({}, measures, None)
    assert (traits.mood, traits.details, traits.turn) == expected


def test_the_crowd_is_believed_before_a_model():
    assert emotion_of(ROW) == "happiness"
    assert emotion_of({"expression_model": "sad"}) == "sadness"
    assert (
        traits_of({"expression_model": "sad"}, {}, None).mood == ""
    )  # for words, a model's guess is too little
    assert traits_of({"smiling": "0.9"}, {}, None).mood == "happiness"


@pytest.mark.parametrize(
    ("colour", "word"),
    [((10, 10, 10), "black"), ((120, 120, 120), "grey"), ((240, 240, 240), "white"), ((200, 20, 30), "blue"),
     ((30, 160, 40), "green"), ((160, 30, 30), "red"), ((150, 110, 70), "brown")],
)  # fmt: skip
def test_background_colours(colour, word):
    if word == "blue":
        colour = colour[::-1]
    assert background_of(np.full((50, 70, 3), colour, np.uint8)) == word


def test_a_mixed_background_has_no_colour(random):
    coarse = random.choice([0, 255], (8, 8, 1)).astype(np.uint8)
    assert background_of(np.kron(np.repeat(coarse, 3, 2), np.ones((16, 16, 1), np.uint8))) == ""
