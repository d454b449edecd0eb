import numpy as np
import pytest
import torch

from diffpc.errors import InputError, UsageError
from diffpc.images import read_image
from diffpc.loading import load_eyes
from diffpc.person import OUTLIER, gathered


@pytest.fixture(scope="module")
def eyes():
    return load_eyes()


def test_one_photo_is_who_the_pipeline_identifies(eyes, astronaut):
    person = gathered([astronaut], ["me.jpg"], eyes)
    face = eyes.face(astronaut, None, "me.jpg")
    assert torch.equal(person.identity.features.global_vector, eyes.features(astronaut, face).global_vector)
    assert torch.equal(person.identity.params.shape, eyes.params(astronaut, face).shape)
    (photo,) = person.photos
    assert (photo.name, photo.distance, photo.fault) == ("me.jpg", None, None)
    assert 0.8 < photo.quality <= 1


def test_several_photos_are_averaged_and_a_wall_is_left_out(eyes, astronaut):
    grey = np.repeat(astronaut.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    dark = (astronaut // 4).astype(np.uint8)
    wall = np.full((64, 64, 3), 90, np.uint8)
    person = gathered([wall, astronaut, grey, dark], ["wall", "me", "grey", "dark"], eyes)
    assert [one.name for one in person.photos] == ["wall", "me", "grey", "dark"]
    assert person.photos[0].quality is None and "no face found in wall" in person.photos[0].fault
    assert all(one.fault is None and one.distance < 1 for one in person.photos[1:])
    assert person.photos[3].quality < person.photos[1].quality
    vectors = [eyes.features(one, eyes.face(one, None, "")).global_vector for one in (astronaut, grey, dark)]
    middle = torch.stack(vectors).mean(0)
    assert torch.allclose(person.identity.features.global_vector, middle / middle.norm(), atol=1e-6)


def test_nobody(eyes):
    with pytest.raises(UsageError, match="no photo; give at least one"):
        gathered([], [], eyes)
    with pytest.raises(InputError, match="no face found in wall"):
        gathered([np.full((64, 64, 3), 90, np.uint8)], ["wall"], eyes)


def test_a_photo_of_somebody_else(eyes, shared):
    folder = shared / "data" / "lfw" / "images"
    if not folder.is_dir():
        pytest.skip(f"no photos at {folder}")
    names = [f"Ariel_Sharon_000{number}.jpg" for number in (1, 2, 3)]
    photos = [read_image(folder / "Ariel_Sharon" / name) for name in names]
    other = read_image(folder / "Aaron_Peirsol" / "Aaron_Peirsol_0001.jpg")
    alone = gathered(photos, names, eyes)
    person = gathered([*photos, other], [*names, "other"], eyes)
    assert [one.fault for one in person.photos] == [None, None, None, OUTLIER]
    assert person.photos[3].distance > 1 > max(one.distance for one in person.photos[:3])
    vector = person.identity.features.global_vector
    assert torch.equal(vector, alone.identity.features.global_vector)
    mixed = gathered([*photos, other], [*names, "other"], eyes, keep_outliers=True)
    assert not torch.equal(mixed.identity.features.global_vector, vector)
    assert mixed.photos[3].fault is None
    with pytest.raises(InputError, match=r"Ariel_Sharon_0001.jpg, other: look like different persons"):
        gathered([photos[0], other], [names[0], "other"], eyes)
