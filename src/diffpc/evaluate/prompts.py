"""The texts of the benchmarks, and what can be checked of each.

A person gets two prompts that ask for opposite looks and otherwise agree, and a scene. Smiles are not asked for:
the target photo says what the face does.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from diffpc.errors import UsageError
from diffpc.evaluate.manifest import Prompt


@dataclass(frozen=True)
class PromptSet:
    """What prompts are drawn from."""

    contrasts: tuple[tuple[Prompt, Prompt], ...]
    """Each with an attribute, and with its opposite."""
    scenes: tuple[Prompt, ...]


def _contrast(
    attribute: str, wanted: str, unwanted: str, opposite: str | None = None
) -> tuple[Prompt, Prompt]:
    """Two prompts about one attribute; `opposite` is an attribute that the second one asks for instead."""
    other = (opposite,) if opposite else ()
    return Prompt(wanted, (attribute,), other), Prompt(unwanted, other, (attribute,))


_PLACE = "a portrait photo of a person {}, in a bright studio"

VARIED = PromptSet(
    contrasts=(
        _contrast("glasses", _PLACE.format("wearing round glasses"), _PLACE.format("without glasses")),
        _contrast(
            "hat", _PLACE.format("wearing a wide-brimmed hat"), _PLACE.format("with the head uncovered")
        ),
        _contrast("beard", _PLACE.format("with a full beard"), _PLACE.format("with a clean-shaven chin")),
        _contrast("blond", _PLACE.format("with blond hair"), _PLACE.format("with black hair"), "black_hair"),
        _contrast(
            "grey_hair", _PLACE.format("with grey hair"), _PLACE.format("with black hair"), "black_hair"
        ),
        _contrast(
            "young", _PLACE.format("who is twenty years old"), _PLACE.format("who is seventy years old")
        ),
        _contrast(
            "background_blue",
            "a portrait photo, head and shoulders, in front of a plain blue wall",
            "a portrait photo, head and shoulders, in front of a plain red wall",
            "background_red",
        ),
        _contrast(
            "background_white",
            "a portrait photo, head and shoulders, in front of a bright white wall",
            "a portrait photo, head and shoulders, in front of a black curtain",
            "background_black",
        ),
    ),
    scenes=tuple(
        Prompt(text)
        for text in (
            "a person in a raincoat on a wet street at night, neon signs behind",
            "an astronaut in a space suit, the Earth behind, helmet off",
            "a chef in a white jacket in a busy restaurant kitchen",
            "a person in a wool scarf in a snowy forest, soft winter light",
            "a reader in an old library, warm lamp light, shelves behind",
            "a person in a leather jacket beside a motorcycle, golden hour",
            "an oil painting of a person in a velvet robe, dark background",
            "a person in a linen shirt on a beach, the sea behind, midday sun",
            "a gardener in a greenhouse, green leaves all around",
            "a violinist in evening dress on a concert stage, spotlights",
            "a hiker with a backpack on a mountain ridge, clouds below",
            "a person at a market stall with oranges and spices",
            "a watercolour portrait of a person in a straw-coloured coat, loose brush strokes",
            "a firefighter in uniform in front of a red engine",
            "a person in a hooded sweater in a subway car, cool light",
            "a black-and-white photograph of a person in a tweed jacket",
            "a scientist in a laboratory coat, glassware in front",
            "a person in medieval armour in front of a stone wall, overcast sky",
            "a dancer in a sequined costume, confetti in the air",
            "a sailor in a striped shirt on a boat, harbour behind",
            "a pencil drawing of a person in a turtleneck",
            "a person in a kimono under cherry blossoms, shallow depth of field",
            "a farmer in a denim jacket in a wheat field at dusk",
            "a news presenter in a suit in a television studio",
        )
    ),
)
"""For models that know the world."""

PLAIN = PromptSet(
    contrasts=(
        _contrast(
            "glasses",
            "a portrait photo of a person with glasses",
            "a portrait photo of a person without glasses",
        ),
        _contrast(
            "hat", "a portrait photo of a person with a hat", "a portrait photo of a person without a hat"
        ),
        _contrast(
            "beard",
            "a portrait photo of a person with a beard",
            "a portrait photo of a person without a beard",
        ),
        _contrast(
            "blond",
            "a portrait photo of a person with blond hair",
            "a portrait photo of a person with black hair",
            "black_hair",
        ),
        _contrast(
            "grey_hair",
            "a portrait photo of a person with grey hair",
            "a portrait photo of a person with brown hair",
        ),
        _contrast("young", "a portrait photo of a young person", "a portrait photo of an old person"),
        _contrast(
            "background_blue",
            "a portrait photo of a person in front of a blue background",
            "a portrait photo of a person in front of a red background",
            "background_red",
        ),
        _contrast(
            "background_white",
            "a portrait photo of a person in front of a white background",
            "a portrait photo of a person in front of a black background",
            "background_black",
        ),
        _contrast(
            "background_green",
            "a portrait photo of a person in front of a green background",
            "a portrait photo of a person in front of a white background",
            "background_white",
        ),
    ),
    scenes=tuple(
        Prompt(f"a picture of a person with a {colour} background", (f"background_{colour}",))
        for colour in ("blue", "red", "green", "white", "black")
    ),
)
"""In the words of the bundled model's captions."""

PROMPT_SETS: dict[str, PromptSet] = {"varied": VARIED, "plain": PLAIN}


def prompts_for(person: str, count: int, name: str, seed: int) -> tuple[Prompt, ...]:
    """A person's prompts: the two sides of a contrast, then scenes; always the same for the same person.

    Args:
        person: whose.
        count: how many.
        name: a key of PROMPT_SETS.
        seed: of the choice.

    Raises:
        UsageError: if the set is unknown or has not so many prompts.
    """
    if name not in PROMPT_SETS:
        raise UsageError(f"unknown prompts {name!r}; choose one of: {', '.join(PROMPT_SETS)}")
    chosen = PROMPT_SETS[name]
    most = 2 + len(chosen.scenes)
    if not 1 <= count <= most:
        raise UsageError(f"{count} prompts per person are asked for; the set {name!r} has 1 to {most}")
    number = number_of(seed, person)
    contrast = chosen.contrasts[number % len(chosen.contrasts)]
    start = number // len(chosen.contrasts)
    scenes = [chosen.scenes[(start + step) % len(chosen.scenes)] for step in range(max(0, count - 2))]
    return (*contrast, *scenes)[:count]


def number_of(seed: int, text: str) -> int:
    """A number of 64 bits that looks random and is always the same for a text."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{text}".encode()).digest()[:8], "big")
