"""Events of the page's left side: photos, where pose and expression start, sliders, the live 3D face."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any, TypeAlias, cast

import gradio as gr
from gradio.blocks import Block

from diffpc.errors import DiffPCError, UsageError
from diffpc.framing import framed
from diffpc.identity_file import SUFFIX
from diffpc.pipeline import PortraitSettings
from diffpc.serve.identity_files import IdentityFile
from diffpc.serve.page import show
from diffpc.serve.page.canvas import drawn
from diffpc.serve.page.controls import ExpressionSliders, PoseSliders
from diffpc.serve.page.layout import Parts, expression_choices, pose_choices, style_choices
from diffpc.serve.page.sitting import (
    EXPRESSION,
    PHOTO,
    REFERENCE,
    REPLAYED,
    TARGET,
    Look,
    Photo,
    Sitting,
    Source,
    opened,
    with_face,
    with_file,
    with_references,
    with_source,
)
from diffpc.serve.page.uploads import Tray
from diffpc.serve.studio import Studio

N_POSE = len(fields(PoseSliders))
SLIDERS = [field.name for kind in (PoseSliders, ExpressionSliders) for field in fields(kind)]

Sliders: TypeAlias = tuple[PoseSliders, ExpressionSliders]
Values: TypeAlias = Mapping[Any, Any]
"""Component -> its value: what an event is given."""
Updates: TypeAlias = dict[Any, Any]
"""Component -> its new value: what an event changes."""
Change: TypeAlias = Callable[[Sitting], Sitting]

QUIET: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}


def data_of(event: gr.EventData) -> Mapping[str, Any]:
    """What the page's script sent with an event: a visitor's, so anything may be in it."""
    data = vars(event)["_data"]
    return cast(Mapping[str, Any], data) if isinstance(data, Mapping) else {}


def tokens_of(event: gr.EventData) -> list[object]:
    """The tokens of the files that were dropped.

    Raises:
        UsageError: if there are none.
    """
    tokens = data_of(event).get("tokens")
    if not isinstance(tokens, list) or not tokens:
        raise UsageError("No file arrived. Drop it again.")
    return cast("list[object]", tokens)


@dataclass(frozen=True)
class Posing:
    """The events, over the page's parts."""

    parts: Parts
    studio: Studio
    tray: Tray

    @property
    def look(self) -> Look:
        """How the model sees faces. Raises Busy while it is loading."""
        painter, limits = self.studio.painter, self.studio.limits
        return Look(painter.eyes, painter.default_size, limits.pixels)

    def wire(self, page: gr.Blocks) -> None:
        """Connect the components."""
        parts, outputs = self.parts, self.outputs
        inputs: set[Block] = {parts.sitting, *parts.sliders}
        extra = [parts.model, parts.style, parts.steps, parts.guidance, parts.count]
        page.load(self.open, None, [*outputs, *extra], **QUIET)
        parts.who.upload(self.add_references, inputs, outputs, **QUIET)
        parts.people.click(self.press_person, inputs, outputs, **QUIET)
        for given in (parts.passphrase.submit, parts.unlock.click):
            given(self.unlock, {*inputs, parts.passphrase}, outputs, **QUIET)
        parts.target.upload(self.add_target, inputs, outputs, **QUIET)
        parts.pose_photo.upload(self.add_pose, inputs, outputs, **QUIET)
        parts.expression_photo.upload(self.add_expression, inputs, outputs, **QUIET)
        parts.pose_start.input(self.start_pose, {*inputs, parts.pose_start}, outputs, **QUIET)
        parts.expression_start.input(
            self.start_expression, {*inputs, parts.expression_start}, outputs, **QUIET
        )
        for slider in parts.sliders:
            # While one frame is drawn only the last of the moves since then is remembered.
            slider.input(self.redraw, inputs, [parts.canvas], trigger_mode="always_last", **QUIET)

    @property
    def outputs(self) -> list[Any]:
        """What an event on this side may change."""
        parts = self.parts
        notes = [parts.who_note, parts.how_note]
        starts = [parts.pose_start, parts.expression_start]
        people = [parts.people, parts.passphrase, parts.unlock]
        return [parts.sitting, *people, *notes, *starts, *parts.sliders, parts.canvas]

    def open(self) -> Updates:
        """A new visitor: once the model is loaded, the controls take its ranges."""
        try:
            self.studio.ready(None)
            sitting = opened(self.look)
        except DiffPCError as error:
            return {self.parts.model: show.note(str(error))}
        return self._ranged(self.shown(sitting, sitting.sliders)) | self._model()

    def _model(self) -> Updates:
        """What else depends on the model and the operator."""
        parts, limits, painter = self.parts, self.studio.limits, self.studio.painter
        width, height = painter.default_size
        own, styles = PortraitSettings(**painter.defaults), painter.making.styles
        return {
            parts.model: f"<p>draws {width} x {height} px</p>",
            parts.style: gr.update(choices=style_choices(styles), visible=bool(styles)),
            parts.steps: gr.update(maximum=limits.steps, value=own.steps),
            parts.guidance: gr.update(value=own.guidance),
            parts.count: gr.update(maximum=limits.count),
        }

    def _ranged(self, updates: Updates) -> Updates:
        """The sliders' ranges; what the model cannot show is hidden."""
        ranges = self.look.ranges()
        for name, slider in zip(SLIDERS, self.parts.sliders, strict=True):
            low, high = ranges.get(name, (-1.0, 1.0))
            updates[slider] = gr.update(
                minimum=low, maximum=high, value=updates[slider], visible=name in ranges
            )
        return updates

    def redraw(self, values: Values) -> Updates:
        """The live 3D face."""
        return {self.parts.canvas: self.face(*self.given(values))}

    def add_references(self, values: Values, event: gr.EventData) -> Updates:
        """Photos of the person were dropped: all that can be used are added. An identity file takes their place."""
        photos, files, faults = list[Photo](), list[IdentityFile](), list[str]()
        for token in data_of(event).get("tokens") or []:
            try:
                upload = self.tray.take(token)
                if upload.name.lower().endswith(SUFFIX):
                    files.append(IdentityFile(upload.name, upload.data))
                else:
                    photos.append(self.look.photo(upload.data, upload.name))
            except DiffPCError as error:
                faults.append(str(error))

        def change(old: Sitting) -> Sitting:
            if files:
                return with_file(old, files[-1], self.look)
            arrived = [old.arrived(photo, REFERENCE) for photo in photos]
            return with_references(old, [*old.references, *arrived], self.look) if arrived else old

        return self.changed(values, self.parts.who_note, change, faults)

    def unlock(self, values: Values) -> Updates:
        """A passphrase was given; the page forgets it whether it fits or not."""
        given = str(values[self.parts.passphrase] or "")

        def change(old: Sitting) -> Sitting:
            if old.locked is None or not given:
                raise UsageError("Give the passphrase of the identity file.")
            file = replace(old.locked, passphrase=given)
            return with_file(old, file, self.look)

        return self.changed(values, self.parts.who_note, change)

    def press_person(self, values: Values, event: gr.EventData) -> Updates:
        """A face was chosen, or a photo removed."""
        data: Mapping[str, Any] = data_of(event)

        def change(old: Sitting) -> Sitting:
            if "remove" in data:
                left = [photo for n, photo in enumerate(old.references) if str(n) != str(data["remove"])]
                return with_references(old, left, self.look)
            return with_face(old, _number(data.get("photo")), _number(data.get("face")), self.look)

        return self.changed(values, self.parts.who_note, change)

    def add_target(self, values: Values, event: gr.EventData) -> Updates:
        """A photo to take pose and expression from."""
        return self._add(values, event, "pose", "expression")

    def add_pose(self, values: Values, event: gr.EventData) -> Updates:
        """A photo to take the pose from."""
        return self._add(values, event, "pose")

    def add_expression(self, values: Values, event: gr.EventData) -> Updates:
        """A photo to take the expression from."""
        return self._add(values, event, "expression")

    def start_pose(self, values: Values) -> Updates:
        """The pose starts from something else."""
        name = values[self.parts.pose_start]
        return self.changed(
            values, self.parts.how_note, lambda old: with_source(old, self._source(old, "pose", name), "pose")
        )

    def start_expression(self, values: Values) -> Updates:
        """The expression starts from something else."""
        name = values[self.parts.expression_start]
        return self.changed(
            values,
            self.parts.how_note,
            lambda old: with_source(old, self._source(old, "expression", name), "expression"),
        )

    def changed(self, values: Values, place: gr.HTML, change: Change, faults: Sequence[str] = ()) -> Updates:
        """Everything on this side after a change; what went wrong is said at `place`.

        Sliders of what starts from something else now go where that puts them, the others stay.
        """
        old, sliders = self.given(values)
        new, faults = old, list(faults)
        try:
            new = change(old)
        except DiffPCError as error:
            faults.append(str(error))
        pose = sliders[0] if new.pose is old.pose else new.pose.start.pose
        expression = sliders[1] if new.expression is old.expression else new.expression.start.expression
        return self.shown(new, (pose, expression)) | {place: show.note(" ".join(faults))}

    def shown(self, sitting: Sitting, sliders: Sliders) -> Updates:
        """Everything on this side as it is now, without a note."""
        parts, names = self.parts, self.look.expressions()
        pose, expression, locked = sitting.pose, sitting.expression, sitting.locked is not None
        return {
            parts.sitting: sitting,
            parts.people: show.people(sitting.references, sitting.filed),
            parts.passphrase: gr.update(value="", visible=locked, label=_asking(sitting.locked)),
            parts.unlock: gr.update(visible=locked),
            parts.who_note: "",
            parts.how_note: "",
            parts.pose_start: gr.update(
                choices=pose_choices(_photo_name(sitting.pose_photo), pose.name == REPLAYED), value=pose.name
            ),
            parts.expression_start: gr.update(
                choices=expression_choices(
                    names, _photo_name(sitting.expression_photo), expression.name == REPLAYED
                ),
                value=expression.name,
            ),
            **dict(zip(parts.sliders, [*astuple(sliders[0]), *astuple(sliders[1])], strict=True)),
            parts.canvas: self.face(sitting, sliders),
        }

    def face(self, sitting: Sitting, sliders: Sliders) -> str:
        """The 3D face on its canvas; over the photo as long as the pose is that photo's own."""
        look = self.look
        params = sitting.params(sliders, look)
        view = framed(params, look.eyes.model, look.size, look.eyes.settings.framing)
        photo = sitting.pose.photo if sliders[0] == sitting.pose.start.pose else None
        picture = drawn(params, look.eyes.model, view, photo.image if photo else None)
        return show.canvas(picture, show.in_words(*sliders))

    def given(self, values: Values) -> tuple[Sitting, Sliders]:
        """The visitor's photos and choices, and where the sliders stand."""
        numbers = [round(float(values[slider]), 4) for slider in self.parts.sliders]
        sliders = PoseSliders(*numbers[:N_POSE]), ExpressionSliders(*numbers[N_POSE:])
        return values[self.parts.sitting] or opened(self.look), sliders

    def _add(self, values: Values, event: gr.EventData, *kinds: str) -> Updates:
        def change(old: Sitting) -> Sitting:
            place = TARGET if "pose" in kinds else EXPRESSION
            photo = old.arrived(self._photo(tokens_of(event)[0]), place)
            return with_source(old, self.look.read(photo), *kinds)

        return self.changed(values, self.parts.how_note, change)

    def _photo(self, token: object) -> Photo:
        upload = self.tray.take(token)
        return self.look.photo(upload.data, upload.name)

    def _source(self, sitting: Sitting, kind: str, name: str) -> Source:
        """Where a choice of the radios starts from."""
        if name == REFERENCE:
            return self.look.reference(sitting)
        if name == PHOTO:
            return replace(getattr(sitting, f"{kind}_photo") or self.look.reference(sitting))
        if name == REPLAYED:
            return replace(getattr(sitting, kind))
        return self.look.pose(name) if kind == "pose" else self.look.expression(name)


def _asking(locked: IdentityFile | None) -> str:
    return f"Passphrase of {locked.name}" if locked else "Passphrase"


def _photo_name(source: Source | None) -> str | None:
    return source.photo.name if source and source.photo else None


def _number(value: object) -> int:
    return int(value) if isinstance(value, str) and value.isdecimal() else -1
