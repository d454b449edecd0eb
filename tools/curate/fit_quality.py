"""Fit the own face quality: the chance that the embedder recognises a person in a photo, from its measures.

For persons with several photos, one photo is spoiled at random (smaller, blurred, darker, brighter, compressed,
noisy) or left as it is; it is recognised if its embedding lies within the embedder's threshold of the same person's
other photo. Persons are split in halves for fitting and checking.

    python tools/curate/fit_quality.py --lfw DATA/lfw --persons 900
"""

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PILImage
from scipy.optimize import minimize

from diffpc.curate.record import Listed, Record, Reject
from diffpc.curate.settings import PhotoSettings
from diffpc.curate.stages import decode, find_face, jpeg, read_face
from diffpc.curate.tools import Tools, load_tools
from diffpc.faces.quality import FEATURES, quality_features

SIGNS = {"size": (0, None)}
"""What is known before: a larger face is no worse."""

STATES = 4
"""Spoiled states of each photo."""


def spoiled(image: np.ndarray, draw: random.Random) -> np.ndarray:
    """The photo as a bad camera or a bad server would give it; one in four is left alone."""
    changes = draw.sample([smaller, blurred, darker, brighter, compressed, noisy], draw.choice([0, 1, 1, 2]))
    for change in changes:
        image = change(image, draw)
    return image


def smaller(image: np.ndarray, draw: random.Random) -> np.ndarray:
    side = int(250 * 2 ** draw.uniform(-3.6, 0))
    return cv2.resize(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), (250, 250))


def blurred(image: np.ndarray, draw: random.Random) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), 2 ** draw.uniform(-1, 3.2))


def darker(image: np.ndarray, draw: random.Random) -> np.ndarray:
    return (image * 2 ** draw.uniform(-6, 0)).astype(np.uint8)


def brighter(image: np.ndarray, draw: random.Random) -> np.ndarray:
    return np.clip(image * 2.0 ** draw.uniform(0, 3.5), 0, 255).astype(np.uint8)


def compressed(image: np.ndarray, draw: random.Random) -> np.ndarray:
    return np.array(PILImage.open(BytesIO(jpeg(image, draw.randint(2, 40)))))


def noisy(image: np.ndarray, draw: random.Random) -> np.ndarray:
    random_values = np.random.default_rng(draw.randrange(2**32))
    noise = random_values.normal(0, 2 ** draw.uniform(1, 6.3), image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def found_in(image: np.ndarray, tools: Tools) -> Record | None:
    """A record of the photo with its face."""
    found: Record | Reject = Record(Listed("photo", "person", "", 0), jpeg(image, 95))
    for stage in (decode, find_face):
        found = stage(found, tools)
        if isinstance(found, Reject):
            return None
    return found


def read(record: Record, image: np.ndarray, tools: Tools) -> Record | None:
    """The record with another state of its photo, read. The face is where it was: spoiling moves nothing."""
    found = read_face(replace(record, image=image), tools)
    return found if isinstance(found, Record) else None


def samples(lfw: Path, persons: int, tools: Tools) -> Iterator[tuple[list[float], float]]:
    """Features of a photo that may be spoiled, and its distance from another photo of the same person."""
    lines = [line.split("\t") for line in (lfw / "peopleDevTrain.txt").read_text().splitlines()[1:]]
    names = sorted(name for name, count in lines if int(count) > 1)
    draw = random.Random(0)
    for name in draw.sample(names, min(persons, len(names))):
        files = sorted((lfw / "images" / name).glob("*.jpg"))
        first, second = (np.array(PILImage.open(file).convert("RGB")) for file in draw.sample(files, 2))
        records = [found_in(image, tools) for image in (first, second)]
        if not records[0] or not records[1] or not (good := read(records[0], first, tools)):
            continue
        for _ in range(STATES):
            if bad := read(records[1], spoiled(second, draw), tools):
                features = quality_features(bad.measures, float(np.linalg.norm(bad.embedding)))
                yield (
                    [features[name] for name in FEATURES],
                    float(np.linalg.norm(good.embedding - bad.embedding)),
                )


def fitted(features: np.ndarray, recognised: np.ndarray) -> np.ndarray:
    """Logistic regression of standardised features with a small penalty: bias, then coefficients."""
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    standard = (features - mean) / deviation

    def loss(weights: np.ndarray) -> float:
        logits = weights[0] + standard @ weights[1:]
        return float(
            np.logaddexp(0, -np.where(recognised, logits, -logits)).mean() + 1e-3 * (weights[1:] ** 2).sum()
        )

    bounds = [(None, None), *(SIGNS.get(name, (None, None)) for name in FEATURES)]
    weights = minimize(loss, np.zeros(1 + len(FEATURES)), method="L-BFGS-B", bounds=bounds).x
    coefficients = weights[1:] / deviation
    return np.concatenate([[weights[0] - mean @ coefficients], coefficients])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--persons", type=int, default=900)
    parser.add_argument(
        "--samples", type=Path, required=True, help="kept there (.npz), so that a fit can be repeated"
    )
    arguments = parser.parse_args()
    tools = load_tools(PhotoSettings(text="none"))
    if not arguments.samples.exists():
        rows = list(samples(arguments.lfw, arguments.persons, tools))
        np.savez(arguments.samples, features=[row[0] for row in rows], distance=[row[1] for row in rows])
    kept = np.load(arguments.samples)
    features, recognised = kept["features"], kept["distance"] < tools.embedder.metric.threshold
    half = len(features) // 2
    weights = fitted(features[:half], recognised[:half])
    quality = 1 / (1 + np.exp(-(weights[0] + features @ weights[1:])))
    print(
        json.dumps(
            {"bias": round(weights[0], 3), **dict(zip(FEATURES, weights[1:].round(3).tolist(), strict=True))}
        )
    )
    for low, high in ((0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 0.9), (0.9, 1)):
        inside = (quality[half:] >= low) & (quality[half:] <= high)
        print(
            f"quality {low:.1f} to {high:.1f}: {inside.sum()} photos, {recognised[half:][inside].mean():.3f} recognised"
        )


if __name__ == "__main__":
    main()
