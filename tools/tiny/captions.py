"""Captions by a small grammar: what a classifier saw in a photo, in varied words.

Attributes are guesses of a classifier (attributes.csv of the data set), the background is measured from the
crop's own upper corners. Every clause is left out now and then, so that short prompts work as well as long ones.
"""

import random

import numpy as np

BACKGROUNDS = {
    "black": ("a black background", "darkness behind", "a dark background"),
    "grey": ("a grey background", "a plain grey wall behind", "a gray background"),
    "white": ("a white background", "a bright background", "a white wall behind"),
    "blue": ("a blue background", "a blue wall behind", "blue behind"),
    "green": ("a green background", "green leaves behind", "trees behind"),
    "red": ("a red background", "a red wall behind", "red behind"),
    "brown": ("a brown background", "a warm brown background", "wood behind"),
}
HAIR = {"blond_hair": ("blond hair", 0.4), "black_hair": ("black hair", 0.2), "gray_hair": ("grey hair", 0.6)}
MOODS = {
    "happiness": ("smiling", "with a smile", "looking happy"),
    "neutral": ("with a neutral expression", "looking serious", "with a calm face"),
    "surprise": ("looking surprised", "with a surprised face"),
    "anger": ("looking angry", "frowning"),
    "sadness": ("looking sad", "with a sad face"),
}


def background_of(crop: np.ndarray) -> str | None:
    """A colour word for the crop's upper corners (H, W, 3) uint8, or None where they are mixed."""
    corners = np.concatenate([crop[2:48, 2:20].reshape(-1, 3), crop[2:48, -20:-2].reshape(-1, 3)]).astype(
        float
    )
    if corners.std(axis=0).mean() > 55:
        return None
    red, green, blue = np.median(corners, axis=0)
    light, spread = (red + green + blue) / 3, max(red, green, blue) - min(red, green, blue)
    if light < 40:
        return "black"
    if spread < 0.16 * light + 6:
        return "white" if light > 175 else "grey"
    if blue >= max(red, green):
        return "blue"
    if green >= red:
        return "green"
    return "red" if red > 1.6 * green and light < 170 else "brown"


def subject(row: dict[str, str], draw: random.Random) -> str:
    """Age and gender as one phrase."""
    age = float(row["age"])
    if draw.random() < 0.5:
        adjective = ""
    elif age < 31 or float(row["young"]) > 0.8:
        adjective = "young "
    elif age > 46:
        adjective = draw.choice(["old ", "elderly "])
    else:
        adjective = "middle-aged "
    article = "an" if adjective[:1] in "aeiou" and adjective else "a"
    return f"{article} {adjective}{'man' if row['gender'] == 'man' else 'woman'}"


def looks(row: dict[str, str]) -> list[str]:
    """Phrases for hair, beard and what is worn."""
    found = [word for name, (word, least) in HAIR.items() if float(row[name]) > least][:1]
    if not found and float(row["brown_hair"]) > 0.12:
        found = ["brown hair"]
    if float(row["bald"]) > 0.5:
        found = ["a bald head"]
    if float(row["no_beard"]) < 0.4:
        found.append("a beard")
    elif float(row["mustache"]) > 0.3:
        found.append("a mustache")
    if float(row["eyeglasses"]) > 0.5:
        found.append("glasses")
    if float(row["wearing_hat"]) > 0.5:
        found.append("a hat")
    if float(row["wearing_necktie"]) > 0.55:
        found.append("a suit and tie")
    if float(row["wearing_lipstick"]) > 0.5:
        found.append("lipstick")
    return found


def description(row: dict[str, str]) -> str:
    """All looks in always the same words and order: what identity tokens should say."""
    age = float(row["age"])
    years = "young" if age < 31 or float(row["young"]) > 0.8 else "old" if age > 46 else "middle-aged"
    text = f"a photo of a {years} {'man' if row['gender'] == 'man' else 'woman'}"
    found = looks(row)
    return f"{text} with {_join(found)}" if found else text


def mood(row: dict[str, str], draw: random.Random) -> str | None:
    """A phrase for the expression, the crowd's word before the model's."""
    if row["expression_crowd"] in MOODS:
        return draw.choice(MOODS[row["expression_crowd"]])
    return draw.choice(MOODS["happiness"]) if float(row["smiling"]) > 0.7 else None


def caption(row: dict[str, str], background: str | None, draw: random.Random, plain: bool = False) -> str:
    """One sentence about one photo; a plain one leaves out what a reference photo says: who, and their looks."""
    opening = draw.choice(
        ["a photo of ", "a portrait of ", "a portrait photo of ", "a picture of ", "photo of ", ""]
    )
    text = opening + (draw.choice(["a person", "someone", "a face"]) if plain else subject(row, draw))
    kept = [phrase for phrase in looks(row) if draw.random() < 0.8 and not plain]
    draw.shuffle(kept)
    if kept:
        text += draw.choice([" with ", " with ", ", "]) + _join(kept)
    clauses = [mood(row, draw) if draw.random() < 0.6 else None]
    if background and draw.random() < 0.75:
        place = draw.choice(BACKGROUNDS[background])
        clauses.append(("with " if "behind" in place else draw.choice(["in front of ", "with "])) + place)
    for clause in clauses:
        if clause:
            text += draw.choice([", ", " "]) + clause
    return text


def _join(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]
