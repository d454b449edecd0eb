import io

import cv2
import numpy as np
from PIL import Image as PILImage

from diffpc.curate.alike import kept_of, near_pairs, perceptual_hash
from tests.train.people import encoded, portrait


def differing(first, second):
    return int(first ^ second).bit_count()


def test_the_hash_survives_scaling_and_compression_but_not_another_photo(astronaut):
    image = portrait(astronaut, 2)
    stream = io.BytesIO()
    PILImage.fromarray(image).save(stream, "JPEG", quality=30)
    small = cv2.resize(image, (150, 150), interpolation=cv2.INTER_AREA)
    for copy in (np.array(PILImage.open(stream)), small, np.clip(image * 0.9, 0, 255).astype(np.uint8)):
        assert differing(perceptual_hash(image), perceptual_hash(copy)) <= 4
    assert differing(perceptual_hash(image), perceptual_hash(np.ascontiguousarray(image[:, ::-1]))) > 15
    assert encoded(image)  # the photo is one


def test_near_pairs_are_those_of_comparing_all(random):
    hashes = random.integers(0, 2**63, 300, dtype=np.uint64)
    for row in range(0, 200, 2):  # some lie close to their neighbour
        flips = random.choice(64, random.integers(0, 9), replace=False)
        hashes[row + 1] = hashes[row] ^ np.bitwise_or.reduce(
            np.uint64(1) << flips.astype(np.uint64), initial=0
        )
    for most in (0, 3, 6):
        found = list(near_pairs(hashes, most))
        expected = {
            (one, other)
            for one in range(300)
            for other in range(one + 1, 300)
            if differing(int(hashes[one]), int(hashes[other])) <= most
        }
        assert set(found) == expected and len(found) == len(expected) > 3


def test_the_best_of_copies_stays():
    # 0 - 1 - 2 is a chain: 1 is best and stands for both; 3 and 4 are copies of each other.
    ranks = [2, 0, 3, 5, 4]
    assert kept_of(5, [(0, 1), (1, 2), (3, 4)], ranks.__getitem__) == {0: 1, 2: 1, 3: 4}
    # With the middle one worst, both ends stay.
    assert kept_of(3, [(0, 1), (1, 2)], [0, 9, 1].__getitem__) == {1: 0}
