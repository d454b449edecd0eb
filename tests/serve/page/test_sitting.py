"""One visitor's photos and choices, on a real photo: what starts from where, and what is asked of the service."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffpc import sealed
from diffpc.errors import InputError, UsageError
from diffpc.eyes import Eyes
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import Placement, posed
from diffpc.face3d.written import written
from diffpc.identity_file import save_identity
from diffpc.images import encode_png
from diffpc.person import gathered
from diffpc.presets import tiny
from diffpc.provenance import Provenance, png_metadata
from diffpc.serve.identity_files import IdentityFile
from diffpc.serve.note import Making
from diffpc.serve.page import replaying
from diffpc.serve.page.controls import ExpressionSliders, PoseSliders
from diffpc.serve.page.ordering import ordered, scores_of, wished
from diffpc.serve.page.sitting import (
    MAX_REFERENCES,
    PHOTO,
    REFERENCE,
    REPLAYED,
    TARGET,
    Look,
    Photo,
    Sitting,
    opened,
    with_face,
    with_file,
    with_references,
    with_source,
)
from diffpc.serve.request import Origin, Wish
from diffpc.weights import sha256


@pytest.fixture(scope="module")
def look() -> Look:
    return Look(Eyes(tiny().faces), (128, 128))


@pytest.fixture(scope="module")
def photo(look: Look, astronaut_path: Path) -> Photo:
    return look.photo(astronaut_path.read_bytes(), "astronaut.jpg")


@pytest.fixture(scope="module")
def sitting(look: Look, photo: Photo) -> Sitting:
    return with_references(opened(look), [photo], look)


def test_a_photo_has_its_faces_and_its_files_hash(photo: Photo, astronaut_path: Path) -> None:
    assert (len(photo.faces), photo.chosen, photo.digest) == (1, 0, sha256(astronaut_path))


def test_a_photo_without_a_face_is_refused_in_words(look: Look) -> None:
    with pytest.raises(InputError, match=r"No face was found in wall\.png\. Use a photo"):
        look.photo(encode_png(np.full((64, 64, 3), 90, np.uint8)), "wall.png")


def test_an_empty_page_shows_the_mean_face(look: Look) -> None:
    empty = opened(look)
    assert empty.sliders[1] == ExpressionSliders()
    assert (empty.sliders[0].yaw, empty.sliders[0].pitch, empty.sliders[0].roll) == (0, 0, 0)


def test_the_first_photo_gives_identity_pose_and_expression(
    sitting: Sitting, photo: Photo, look: Look
) -> None:
    own = look.eyes.params(photo.image, photo.face)
    found = sitting.params(sitting.sliders, look)
    assert (sitting.pose.name, sitting.expression.name) == (REFERENCE, REFERENCE)
    for name in ("shape", "expression", "rotation", "camera"):
        assert torch.equal(getattr(found, name), getattr(own, name))


def test_a_choice_outlasts_other_photos_of_the_person(sitting: Sitting, photo: Photo, look: Look) -> None:
    smiling = with_source(sitting, look.expression("smile"), "expression")
    found = with_references(smiling, [photo, photo], look)
    assert (found.expression.name, found.pose.name, len(found.references)) == ("smile", REFERENCE, 2)


def test_removing_all_photos_returns_to_the_mean_face(sitting: Sitting, look: Look) -> None:
    found = with_references(sitting, [], look)
    assert torch.equal(found.identity.shape, opened(look).identity.shape)


def test_too_many_photos_are_refused(sitting: Sitting, photo: Photo, look: Look) -> None:
    with pytest.raises(UsageError, match="9 photos are too many; use up to 8"):
        with_references(sitting, [photo] * (MAX_REFERENCES + 1), look)


@pytest.mark.parametrize(("number", "face"), [(0, 1), (1, 0), (-1, 0), (0, -1)])
def test_a_face_that_is_not_there_is_refused(sitting: Sitting, look: Look, number: int, face: int) -> None:
    with pytest.raises(UsageError, match="no longer on the page"):
        with_face(sitting, number, face, look)


def test_nothing_moved_asks_for_the_references_own(sitting: Sitting, look: Look) -> None:
    assert wished(sitting, sitting.sliders, look) == Wish()


def test_a_moved_pose_is_asked_for_in_numbers(sitting: Sitting, look: Look) -> None:
    pose = PoseSliders(25.0, -5.0, 0.0, 0.5, 0.5, 0.6)
    wish = wished(sitting, (pose, sitting.sliders[1]), look)
    assert wish.pose == Angles(25.0, -5.0, 0.0) and wish.place == Placement(0.5, 0.5, 0.6)
    assert wish.target is None and not wish.scores


def test_a_named_expression_is_asked_for_by_name(sitting: Sitting, look: Look) -> None:
    wink = with_source(sitting, look.expression("wink"), "expression")
    assert wished(wink, wink.sliders, look).expression == "wink"


def test_a_target_photo_is_asked_for_once(sitting: Sitting, photo: Photo, look: Look) -> None:
    both = with_source(sitting, look.read(photo), "pose", "expression")
    wish = wished(both, both.sliders, look)
    assert wish.target is not None and wish.target.sha256 == photo.digest and wish.expression is None


def test_a_pose_photo_leaves_the_references_expression(sitting: Sitting, photo: Photo, look: Look) -> None:
    other = Photo("other.jpg", photo.image.copy(), photo.faces, "0" * 64)
    posed = with_source(sitting, look.read(other), "pose")
    wish = wished(posed, posed.sliders, look)
    assert wish.target is not None and wish.target.name == "other.jpg"
    assert (
        not isinstance(wish.expression, str) and wish.expression and wish.expression.name == "astronaut.jpg"
    )
    assert (posed.pose.name, posed.pose_photo) == (PHOTO, posed.pose)


def test_moved_expression_sliders_become_scores_that_make_the_same_face(sitting: Sitting, look: Look) -> None:
    sliders = (sitting.sliders[0], ExpressionSliders(mouth=0.5, smile=-0.5, brows=1.0, eyes=-0.3))
    wish = wished(sitting, sliders, look)
    made = look.eyes.model.expressed(wish.scores)
    torch.testing.assert_close(made.expression, sitting.params(sliders, look).expression, atol=1e-4, rtol=0)


def test_scores_are_the_inverse_of_an_expression(look: Look) -> None:
    scores = {"jawOpen": 0.4, "mouthSmileLeft": 0.8}
    found = scores_of(look.eyes.model.expressed(scores), look.eyes.model)
    assert found == pytest.approx(scores, abs=1e-6)


@pytest.fixture(scope="module")
def file(look: Look, photo: Photo, tmp_path_factory: pytest.TempPathFactory) -> IdentityFile:
    path = tmp_path_factory.mktemp("identity") / "me.safetensors"
    save_identity(gathered([photo.image], [photo.name], look.eyes), look.eyes, path)
    return IdentityFile(path.name, path.read_bytes())


def test_an_identity_file_takes_the_place_of_photos(
    sitting: Sitting, file: IdentityFile, photo: Photo, look: Look
) -> None:
    """It is the person whom its photo showed, with that pose and expression."""
    filed = with_file(sitting, file, look)
    assert (filed.references, filed.sliders) == ((), sitting.sliders)
    assert torch.equal(filed.identity.shape, sitting.identity.shape)
    request = ordered(filed, filed.sliders, look)
    assert (request.references, request.wish, request.made_of) == ((), Wish(), Origin(file=file.mark))
    assert request.identity is not None and torch.equal(
        request.identity.params.camera, sitting.identity.camera
    )
    back = with_references(filed, [photo], look)
    assert back.filed is None and len(back.references) == 1
    assert with_references(filed, [], look).filed is None


def test_a_files_own_expression_under_a_photos_pose_is_given_whole(
    sitting: Sitting, file: IdentityFile, photo: Photo, look: Look
) -> None:
    """There is no photo of the expression to name."""
    posed = with_source(with_file(sitting, file, look), look.read(photo), "pose")
    wish = wished(posed, posed.sliders, look)
    assert wish.target is None and wish.params is not None
    assert torch.equal(wish.params.expression, posed.expression.start.params.expression)
    assert torch.equal(wish.params.rotation, posed.pose.start.params.rotation)


def test_an_encrypted_file_waits_for_its_passphrase(sitting: Sitting, file: IdentityFile, look: Look) -> None:
    pytest.importorskip("cryptography", reason="the extra identity is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed, "COST", sealed.COSTS[0])
        secret = IdentityFile("me.safetensors", sealed.seal(file.data, "open sesame"))
    waiting = with_file(sitting, secret, look)
    assert waiting.locked == secret and waiting.references == sitting.references
    with pytest.raises(InputError, match="check the passphrase"):
        with_file(waiting, replace(secret, passphrase="open barley"), look)
    opened_file = with_file(waiting, replace(secret, passphrase="open sesame"), look)
    assert opened_file.locked is None and opened_file.filed is not None
    assert opened_file.filed.mark == secret.mark
    assert "sesame" not in repr(opened_file)


def test_a_replay_says_which_identity_file_is_needed(
    sitting: Sitting, file: IdentityFile, look: Look
) -> None:
    again = replaying.read(png_of("1" * 64, reference=[], identity=list(file.mark)), "old.png")
    assert replaying.returned(again, sitting, look)[2] == ("me.safetensors under “Who”",)
    assert replaying.returned(again, with_file(sitting, file, look), look)[2] == ()


def test_an_order_needs_a_person(look: Look) -> None:
    empty = opened(look)
    with pytest.raises(UsageError, match="no photo of a person yet"):
        ordered(empty, empty.sliders, look, prompt="a portrait")


def png_of(digest: str, weights: dict[str, str] | None = None, **changes: object) -> bytes:
    """A PNG with a record as the service writes it."""
    record = {
        "reference": [["me.jpg", digest]],
        "target": None,
        "expression": None,
        "pose": [25.0, -5.0, 0.0],
        "place": [0.5, 0.5, 0.65],
        "steps": 4,
        "guidance": 2.0,
        "strength": 0.5,
        **changes,
    }
    provenance = Provenance("0.1.0", "a clown", 7, record, weights or {})
    return encode_png(np.zeros((64, 64, 3), np.uint8), png_metadata(provenance))


def test_a_dropped_png_returns_its_settings(sitting: Sitting, photo: Photo, look: Look) -> None:
    again = replaying.read(png_of(photo.digest, expression="smile"), "old.png")
    found, sliders, missing = replaying.returned(again, sitting, look)
    expected = {"prompt": "a clown", "seed": 7, "count": 1, "steps": 4, "guidance": 2.0, "strength": 0.5}
    assert again.plain == expected
    assert sliders[0] == PoseSliders(25.0, -5.0, 0.0, 0.5, 0.5, 0.65)
    assert (found.expression.name, missing) == ("smile", ())
    assert wished(found, sliders, look).pose == Angles(25.0, -5.0, 0.0)


def test_a_replay_says_which_photos_are_needed(look: Look) -> None:
    data = png_of(
        "1" * 64, pose=None, place=None, target=["you.jpg", "2" * 64], expression=["glad.jpg", "3" * 64]
    )
    _, _, missing = replaying.returned(replaying.read(data, "old.png"), opened(look), look)
    assert missing == (
        "me.jpg under “Who”",
        "you.jpg as the target photo",
        "glad.jpg as the expression photo",
    )
    assert "drop me.jpg under “Who”, and you.jpg" in replaying.said("old.png", missing)


def test_a_replay_finds_the_style_of_its_lora_files() -> None:
    ink, wood, own = (("ink.safetensors", "1" * 64), ("wood.safetensors", "2" * 64), ("own", "3" * 64))
    making = Making("tiny", None, "cpu", "float32", {}, (own,), {"ink": (ink,), "both": (ink, wood)})

    def found(*lora: tuple[str, str]) -> tuple[str | None, str]:
        return replaying.styled(replaying.read(png_of("1" * 64, lora=lora), "old.png"), making)

    assert [found(ink), found(ink, wood), found(own)] == [("ink", ""), ("both", ""), (None, "")]
    assert found(wood)[0] is None and "drawn with wood.safetensors, which is no style here" in found(wood)[1]
    assert "drawn with no LoRA" in found()[1]
    assert "look different. A PNG names" in replaying.said("old.png", ["me.jpg under “Who”"], found()[1])


WEIGHTS = {"unet/u.safetensors": "1", "vae/v.safetensors": "2", "id_ctrl/c.safetensors": "3"}


@pytest.mark.parametrize(
    ("weights", "record", "sentence"),
    [
        ({}, {}, ""),  # nothing recorded
        (WEIGHTS | {"lora/l": "9"}, {"fast": None, "memory": []}, ""),
        ({"base/unet/other": "1", "vae/v": "2", "id_ctrl/c": "3"}, {}, ""),  # the same content by other names
        (WEIGHTS | {"unet/u.safetensors": "5"}, {}, "the UNet"),
        (WEIGHTS | {"vae/v.safetensors": "5"}, {"fast": "lcm"}, "the VAE, --fast (lcm there, none here)"),
        (
            WEIGHTS | {"id_ctrl/c.safetensors": "5"},
            {"memory": ["tiling", "fp8"]},
            "the rest of the weights, --memory (fp8 tiling there, none here)",
        ),
    ],
)
def test_a_replay_says_what_draws_otherwise_here(
    weights: dict[str, str], record: dict[str, object], sentence: str
) -> None:
    making = Making("tiny", None, "cpu", "float32", WEIGHTS, (), {})
    again = replaying.read(png_of("1" * 64, weights, **record), "old.png")
    wanted = f" Not the same here: {sentence}; the portrait will look different." if sentence else ""
    assert replaying.differing(again, making) == wanted


@pytest.mark.parametrize("record", [{"fast": "warp"}, {"fast": 7}, {"memory": ["<b>"]}, {"memory": [[]]}])
def test_ways_of_drawing_that_do_not_exist_are_refused(record: dict[str, object]) -> None:
    with pytest.raises(InputError, match="not usable"):
        replaying.read(png_of("1" * 64, **record), "old.png")


def test_replayed_scores_are_asked_for_again(sitting: Sitting, look: Look) -> None:
    scores = {"jawOpen": 0.4, "mouthSmileLeft": 0.8}
    again = replaying.read(png_of("1" * 64, scores=scores), "old.png")
    found, sliders, _ = replaying.returned(again, sitting, look)
    assert found.expression.name == REPLAYED
    assert wished(found, sliders, look).scores == scores


def test_a_replayed_3d_face_is_asked_for_again_exactly(sitting: Sitting, look: Look) -> None:
    """As long as its sliders are left alone."""
    params = posed(look.eyes.model, Angles(1 / 3, 1 / 7, 0.0))
    params = params.with_expression_of(look.eyes.model.expressed({"jawOpen": 1 / 3}))
    again = replaying.read(png_of("1" * 64, pose=None, place=None, params=written(params)), "old.png")
    found, sliders, _ = replaying.returned(again, sitting, look)
    assert (found.pose.name, found.expression.name) == (REPLAYED, REPLAYED)
    asked = wished(found, sliders, look)
    assert asked.params is not None and written(asked.params) == written(params)
    moved = wished(found, (replace(sliders[0], yaw=20.0), sliders[1]), look)
    assert moved.params is not None
    assert torch.equal(moved.params.expression, params.expression)
    assert not torch.equal(moved.params.rotation, params.rotation)
    named = with_source(found, look.expression("smile"), "expression")
    asked = wished(named, (sliders[0], named.sliders[1]), look)
    assert asked.params is not None and torch.equal(asked.params.rotation, params.rotation)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": "many"},
        {"params": {"rotation": [0.0]}},
        {"reference": [["me.jpg"]]},
        {"pose": [1.0, 2.0]},
        {"guidance": True},
        {"scores": {"jawOpen": "wide"}},
        {"expression": 3},
        {"strength": 1e300},
        {"lora": [["ink.safetensors", 1]]},
    ],
)
def test_a_record_of_another_form_is_refused_in_words(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"old\.png: its Diff-PC settings are not usable"):
        replaying.read(png_of("1" * 64, **change), "old.png")


def test_a_replay_chooses_the_records_faces(look: Look, sitting: Sitting, two_faced: bytes) -> None:
    """In photos that are on the page, in those that come later, and apart for who and pose."""
    two = look.photo(two_faced, "two.png")
    mark = ["two.png", two.digest]
    data = png_of(two.digest, reference=[mark], face=1, target=mark, target_face=0, pose=None, place=None)
    again = replaying.read(data, "old.png")
    here = replaying.returned(again, with_references(sitting, [two], look), look)[0]
    later = replaying.returned(again, sitting, look)[0]
    later = with_references(later, [later.arrived(two, REFERENCE)], look)
    assert (here.references[0].chosen, later.references[0].chosen) == (1, 1)
    assert torch.equal(here.identity.shape, look.read(two.choosing(1)).start.params.shape)
    assert here.pose.photo is not None and here.pose.photo.chosen == 0
    assert later.arrived(two.choosing(1), TARGET).chosen == 0


def test_a_record_of_a_face_that_is_not_there_changes_nothing(
    photo: Photo, sitting: Sitting, look: Look
) -> None:
    again = replaying.read(png_of(photo.digest, face=7), "old.png")
    assert replaying.returned(again, sitting, look)[0].references[0].chosen == 0
    with pytest.raises(InputError, match="not usable"):
        replaying.read(png_of(photo.digest, faces=[0, 1]), "old.png")
