"""Traits -> a sentence, by a small grammar with varied words; nothing is said that is not known.

Every clause is left out now and then, so that short prompts work as well as long ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from diffpc.curate.traits import Traits

BACKGROUNDS = {
    "black": ("a black background", "darkness behind", "a dark background"),
    "grey": ("a grey background", "grey behind", "a gray background"),
    "white": ("a white background", "white behind", "a bright background"),
    "blue": ("a blue background", "blue behind"),
    "green": ("a green background", "green behind"),
    "red": ("a red background", "red behind"),
    "brown": ("a brown background", "brown behind"),
}
MOODS = {
    "happiness": ("smiling", "with a smile", "looking happy"),
    "smile": ("smiling", "with a smile"),
    "neutral": ("with a neutral expression", "looking serious", "with a calm face"),
    "surprise": ("looking surprised", "with a surprised face"),
    "anger": ("looking angry", "frowning"),
    "sadness": ("looking sad", "with a sad face"),
    "fear": ("looking afraid", "with a frightened face"),
    "disgust": ("looking disgusted", "with a disgusted face"),
}
DETAILS = {"mouth_open": ("with an open mouth",), "eyes_closed": ("with closed eyes",)}
TURNS = {
    "left": ("looking to the left", "turned to the left"),
    "right": ("looking to the right", "turned to the right"),
    "left_profile": ("in profile, looking left",),
    "right_profile": ("in profile, looking right",),
    "up": ("looking up",),
    "down": ("looking down",),
}
OPENINGS = ("a photo of ", "a portrait of ", "a portrait photo of ", "a picture of ", "photo of ", "")
ANYBODY = ("a person", "someone", "a face")

_LOOK, _LACK, _MOOD, _DETAIL, _TURN, _PLACE = 0.8, 0.12, 0.6, 0.5, 0.6, 0.75
"""How often each kind of clause is said."""

_NAMELESS = 0.35
"""How often a man or a woman is called a person: a prompt seldom says what the reference photo shows."""


def sentence(traits: Traits, draw: random.Random, plain: bool = False) -> str:
    """One sentence about a photo; a plain one leaves out what a reference photo says: who, and their looks."""
    text = draw.choice(OPENINGS) + (draw.choice(ANYBODY) if plain else _subject(traits, draw))
    kept = [phrase for phrase in traits.looks if draw.random() < _LOOK and not plain]
    draw.shuffle(kept)
    if kept:
        text += draw.choice([" with ", " with ", ", "]) + _join(kept)
    lacking = [thing for thing in traits.lacks if draw.random() < _LACK and not plain]
    if lacking:
        text += " without " + " or ".join(lacking)
    for clause in _clauses(traits, draw):
        text += draw.choice([", ", " "]) + clause
    return text


def sentences(traits: Traits, count: int, plain: int, draw: random.Random) -> list[str]:
    """`count` sentences, the first of which say who, the last `plain` of which do not."""
    return [sentence(traits, draw, number >= count - plain) for number in range(count)]


def description(traits: Traits) -> str:
    """The person's looks in always the same words and order: what identity tokens should say."""
    who = f"{traits.age} {traits.gender or 'person'}".strip()
    text = f"a photo of {_article(who)} {who}"
    return f"{text} with {_join(traits.looks)}" if traits.looks else text


def _subject(traits: Traits, draw: random.Random) -> str:
    """Age and gender as one phrase."""
    if not traits.gender:
        return draw.choice(ANYBODY)
    age = "" if draw.random() < 0.5 else traits.age
    if age == "old":
        age = draw.choice(["old", "elderly"])
    who = f"{age} {'person' if draw.random() < _NAMELESS else traits.gender}".strip()
    return f"{_article(who)} {who}"


def _clauses(traits: Traits, draw: random.Random) -> list[str]:
    clauses: list[str] = []
    if traits.mood and draw.random() < _MOOD:
        clauses.append(draw.choice(MOODS[traits.mood]))
    for detail in traits.details:
        if draw.random() < _DETAIL:
            clauses.append(draw.choice(DETAILS[detail]))
    if traits.turn and draw.random() < _TURN:
        clauses.append(draw.choice(TURNS[traits.turn]))
    if traits.background and draw.random() < _PLACE:
        place = draw.choice(BACKGROUNDS[traits.background])
        clauses.append(("with " if "behind" in place else draw.choice(["in front of ", "with "])) + place)
    return clauses


def _article(noun: str) -> str:
    return "an" if noun[:1] in "aeiou" else "a"


def _join(phrases: Sequence[str]) -> str:
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]
