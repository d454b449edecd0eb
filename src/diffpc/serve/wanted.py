"""A request's photos and numbers -> who, and which 3D face (Eq. 7)."""

from __future__ import annotations

from diffpc.errors import UsageError
from diffpc.eyes import Eyes
from diffpc.face3d.predict import condition, posed
from diffpc.face3d.presets import preset
from diffpc.person import described
from diffpc.portrait import Identity
from diffpc.serve.request import Photo, PortraitRequest, Wish
from diffpc.types import Face, FaceParams


def identity_of(request: PortraitRequest, eyes: Eyes) -> Identity:
    """The person of a request.

    Raises:
        UsageError: if there is neither photo nor identity.
        InputError: if a photo has no face, or several.
    """
    return request.identity or identify(request.references, eyes)


def identify(photos: tuple[Photo, ...], eyes: Eyes) -> Identity:
    """One or several photos of a person -> identity, as `DiffPCPipeline.identify` makes it.

    Raises:
        UsageError: if there is no photo.
        InputError: if a photo has no face, or several of similar size and none is chosen.
    """
    if not photos:
        raise UsageError("no reference photo; give at least one")
    faces = [_face(photo, eyes) for photo in photos]
    return described([photo.image for photo in photos], faces, eyes)


def wanted(wish: Wish, identity: Identity, eyes: Eyes, size: tuple[int, int]) -> FaceParams:
    """(alpha_ref, beta_tgt, gamma_tgt) of Eq. 7; see `Wish`.

    Args:
        wish: pose and expression.
        identity: whose face it is.
        eyes: they look at photos.
        size: width, height in pixels of the portrait.
    """
    if wish.params is not None:
        return condition(identity.params, wish.params, wish.params)
    target = _params(wish.target, eyes) if wish.target else None
    pose = posed(eyes.model, wish.pose, wish.place, size) if wish.pose else target
    return condition(identity.params, _expression(wish, eyes) or target, pose)


def _expression(wish: Wish, eyes: Eyes) -> FaceParams | None:
    if isinstance(wish.expression, Photo):
        return _params(wish.expression, eyes)
    if wish.expression:
        return preset(wish.expression, eyes.model)
    return eyes.model.expressed(wish.scores) if wish.scores else None


def _params(photo: Photo, eyes: Eyes) -> FaceParams:
    return eyes.params(photo.image, _face(photo, eyes))


def _face(photo: Photo, eyes: Eyes) -> Face:
    return eyes.face(photo.image, photo.face, photo.name, "face")
