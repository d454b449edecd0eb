import random
from dataclasses import replace

import numpy as np
import pytest

from diffpc.curate.record import Listed, Record, Reject, needed
from diffpc.curate.settings import PhotoSettings
from diffpc.curate.stages import (
    STAGES,
    choose_square,
    cut,
    decode,
    draw_picture,
    find_face,
    judge_quality,
    listed_box,
    look_for_text,
    overlap,
    read_face,
)
from diffpc.curate.text import load_text_finder, touches
from diffpc.curate.tools import Tools
from diffpc.errors import UsageError
from diffpc.faces.embed import embed_faces
from diffpc.types import Face
from tests.curate.conftest import SMALL, opened
from tests.train.people import portrait

FACE = Face((90.0, 60.0, 190.0, 160.0), np.zeros((5, 2)), "eyes_nose_mouth", 1.0)


def reason(found):
    assert isinstance(found, Reject)
    return found.reason


def test_overlap_by_hand():
    assert overlap((0.0, 0.0, 2.0, 2.0), (1.0, 1.0, 3.0, 3.0)) == pytest.approx(1 / 7)
    assert overlap((0.0, 0.0, 1.0, 1.0), (2.0, 2.0, 3.0, 3.0)) == 0
    assert touches((0.0, 0.0, 1.0, 1.0), (1.0, 1.0, 2.0, 2.0))
    assert not touches((0.0, 0.0, 1.0, 1.0), (1.1, 0.0, 2.0, 1.0))


def test_the_lists_rectangle_moves_with_the_photos_size():
    listed = Listed("a", "b", "", 0, rect=(10.0, 20.0, 30.0, 60.0), rect_frame=(100, 200))
    assert listed_box(listed, (50, 400)) == (5, 40, 15, 120)
    assert listed_box(replace(listed, rect_frame=None), (50, 400)) == (10, 20, 30, 60)
    assert listed_box(replace(listed, rect=None), (50, 400)) is None


def test_decode(record, tools):
    found = decode(replace(record, image=None), tools)
    assert np.abs(found.image.astype(int) - record.image).mean() < 4
    assert reason(decode(replace(record, content=b"no photo"), tools)) == "undecodable"


def test_exactly_one_face(record, tools, astronaut):
    found = find_face(record, tools)
    assert 80 < found.face.box[2] - found.face.box[0] < 200
    two = np.concatenate([portrait(astronaut, 2), portrait(astronaut, 2)], axis=1)
    assert reason(find_face(replace(record, image=two), tools)) == "several_faces"
    wall = np.full((64, 64, 3), 90, np.uint8)
    assert reason(find_face(replace(record, image=wall), tools)) == "no_face"
    for rect, expected in (((0.0, 200.0, 60.0, 280.0), "other_face"), (found.face.box, None)):
        listed = replace(record.listed, rect=rect, rect_frame=(280, 280))
        again = find_face(replace(record, listed=listed), tools)
        assert (again.reason if isinstance(again, Reject) else None) == expected


def test_a_square_is_drawn_by_seed_and_key(record, tools):
    seen = replace(record, face=FACE)
    one, again = choose_square(seen, tools), choose_square(seen, tools)
    assert one.square == again.square
    other = choose_square(replace(seen, listed=replace(seen.listed, key="ada/3.jpg")), tools)
    assert other.square != one.square
    assert 150 <= one.square.side <= 280


@pytest.mark.parametrize(
    ("settings", "box", "expected"),
    [
        (replace(SMALL, side=281), (90.0, 60.0, 190.0, 160.0), "small"),
        (SMALL, (10.0, 10.0, 270.0, 270.0), "no_room"),
        (replace(SMALL, face_share=0.9), (90.0, 60.0, 190.0, 160.0), "no_room"),
    ],
)
def test_squares_that_cannot_be(record, settings, box, expected):
    seen = replace(record, face=replace(FACE, box=box))
    assert reason(choose_square(seen, Tools(settings))) == expected


def test_black_borders_are_avoided_or_refused(record):
    framed = np.maximum(record.image, 9)  # the photo has black parts of its own
    framed[:10] = 0
    seen = replace(record, image=framed, face=FACE)
    tools = Tools(replace(SMALL, border=0.004))
    assert choose_square(seen, tools).square.top >= 10
    framed[:70] = 0
    assert reason(choose_square(replace(seen, image=framed), tools)) == "border"
    assert isinstance(choose_square(replace(seen, image=framed), Tools(SMALL)), Record)


def test_the_face_is_read_and_judged(record, tools):
    read = read_face(find_face(record, tools), tools)
    assert read.embedding.shape == (128,) and read.params.frame == (280, 280)
    assert {"yaw", "pitch", "roll", "smile", "mouth_open", "sharpness", "size", "exposure"} <= set(
        read.measures
    )
    assert read.measures["smile"] > 0.5  # she smiles
    judged = judge_quality(read, tools)
    assert judged.quality > 0.8
    dark = replace(read, measures={**read.measures, "contrast": 0.02, "exposure": 0.1})
    assert reason(judge_quality(dark, tools)) == "low_quality"


def test_text_counts_where_it_touches_the_face(record):
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("rapidocr")
    tools = Tools(replace(SMALL, text="rapidocr"))
    seen = replace(record, face=FACE)
    assert look_for_text(seen, tools) is seen

    def written(y):
        image = record.image.copy()
        cv2.putText(image, "PHOTO.COM", (70, y), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (240, 240, 240), 2)
        return replace(seen, image=image)

    assert reason(look_for_text(written(120), tools)) == "text_on_face"
    assert isinstance(look_for_text(written(260), tools), Record)
    with pytest.raises(UsageError, match="unknown text finder 'eyes'; choose one of: none, rapidocr"):
        load_text_finder("eyes")


def test_the_picture_is_the_square(record, tools):
    square = choose_square(replace(record, face=FACE), tools).square
    drawn = draw_picture(replace(record, square=square), tools)
    picture = opened(drawn.picture)
    assert picture.shape == (64, 64, 3)
    assert abs(picture.mean() - cut(record.image, square).mean()) < 2
    assert drawn.picture == draw_picture(replace(record, square=square), tools).picture


def test_a_stage_needs_those_before_it(tools):
    with pytest.raises(UsageError, match="the record has no image yet"):
        find_face(Record(Listed("a", "b", "", 0), b""), tools)
    assert needed(0, "x") == 0
    assert list(STAGES) == ["decode", "face", "crop", "read", "quality", "text", "picture"]
    assert PhotoSettings().quality == 0.5 and random.Random("0:a").random() == random.Random("0:a").random()


def test_the_embedding_is_that_of_the_embedders_own_way(record, tools):
    read = read_face(find_face(record, tools), tools)
    expected = embed_faces(tools.embedder, record.image, [read.face])[0].numpy()
    assert read.embedding == pytest.approx(expected, abs=1e-5)
