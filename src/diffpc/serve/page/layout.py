"""The parts of the page and where they stand; what they do is wired in `wiring`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from diffpc.identity_file import SUFFIX
from diffpc.serve.identity_files import MAX_PASSPHRASE
from diffpc.serve.page import show
from diffpc.serve.page.controls import ExpressionSliders, PoseSliders, step_of
from diffpc.serve.page.sitting import PHOTO, POSES, REFERENCE, REPLAYED

CONSENT = (
    "Everyone in the photos I use has agreed to it, and I will not pass the portraits off as photographs."
)

LOADING = "The model is loading ..."

NO_STYLE = ""
"""Value of the dropdown where no style is chosen."""

SECONDS = 3600
"""How long a visitor's photos are kept after the last event."""

_DROP = """
<label class="drop"><input type="file" accept="{accept}"{multiple} aria-label="{label}">
<span class="title">{label}</span><span class="hint">{hint}</span></label><p class="said" role="alert"></p>
"""
_PHOTOS = "image/jpeg,image/png,image/webp,image/bmp,image/tiff,image/gif"

_LABELS = {
    "yaw": "Yaw",
    "pitch": "Pitch",
    "roll": "Roll",
    "x": "Across",
    "y": "Down",
    "size": "Size",
    "mouth": "Mouth",
    "smile": "Smile",
    "brows": "Brows",
    "eyes": "Eyes",
}
"""Slider -> label."""


@dataclass(frozen=True)
class Parts:
    """The components that events read and write."""

    sitting: gr.State
    job: gr.State
    """Name of the visitor's last job."""
    model: gr.HTML
    consent: gr.Checkbox
    who: gr.HTML
    people: gr.HTML
    passphrase: gr.Textbox
    unlock: gr.Button
    """Both hidden until an encrypted identity file is dropped."""
    who_note: gr.HTML
    pose_start: gr.Radio
    expression_start: gr.Radio
    target: gr.HTML
    pose_photo: gr.HTML
    expression_photo: gr.HTML
    how_note: gr.HTML
    sliders: tuple[gr.Slider, ...]
    """Those of the pose, then those of the expression, in the order of their classes."""
    prompt: gr.Textbox
    style: gr.Dropdown
    """Hidden where the operator offers none."""
    strength: gr.Slider
    steps: gr.Slider
    guidance: gr.Slider
    seed: gr.Number
    count: gr.Slider
    replay: gr.HTML
    replay_note: gr.HTML
    draw: gr.Button
    stop: gr.Button
    draw_note: gr.HTML
    canvas: gr.HTML
    progress: gr.HTML
    results: gr.HTML
    outcome_note: gr.HTML
    stages: gr.HTML


def laid_out() -> Parts:
    """Build the page's parts inside an open `gr.Blocks`; what depends on the model comes when it is loaded."""
    found: dict[str, Any] = {"sitting": gr.State(None, time_to_live=SECONDS), "job": gr.State("")}
    _header(found)
    with gr.Row(elem_id="studio"):
        with gr.Column(elem_id="left", scale=5, min_width=320):
            _who(found)
            _how(found)
            _what(found)
        with gr.Column(elem_id="right", scale=6, min_width=320):
            with gr.Column(elem_id="stage", elem_classes="card"):
                found["canvas"] = gr.HTML(elem_id="canvas", apply_default_css=False)
            with gr.Column(elem_id="outcome", elem_classes="card"):
                found["progress"] = gr.HTML(_EMPTY, elem_id="progress", apply_default_css=False)
                found["results"] = _buttons("results")
                found["outcome_note"] = _note()
                found["stages"] = gr.HTML(elem_id="stages", apply_default_css=False)
    gr.HTML(_FOOT, elem_id="foot", apply_default_css=False)
    return Parts(**found)


def expression_choices(
    names: Sequence[str], photo: str | None, replayed: bool = False
) -> list[tuple[str, str]]:
    """What the expression can start from."""
    return [*_choices(names, photo), *_replayed(replayed)]


def pose_choices(photo: str | None, replayed: bool = False) -> list[tuple[str, str]]:
    """What the pose can start from."""
    return [*_choices(list(POSES), photo), *_replayed(replayed)]


def _replayed(there: bool) -> list[tuple[str, str]]:
    return [("As in the PNG", REPLAYED)] if there else []


def style_choices(names: Iterable[str]) -> list[tuple[str, str]]:
    """What a portrait may be drawn in."""
    return [("No style", NO_STYLE), *((name, name) for name in names)]


def _choices(names: Sequence[str], photo: str | None) -> list[tuple[str, str]]:
    own = [(f"As in {photo}", PHOTO)] if photo else []
    named = [(name.replace("_", " ").capitalize(), name) for name in names]
    return [("As in the reference", REFERENCE), *own, *named]


_EMPTY = (
    '<p class="empty">Drop a photo of a person, say what the portrait shows, and draw it. The mesh shows how the '
    "face will be held.</p>"
)

_TOP = """
<header><h1>Diff-PC <span>studio</span></h1>
<p>A photo says who, a 3D face says pose and expression, a text says the rest.</p></header>
"""

_FOOT = (
    "<p>Photos and portraits stay in this server's memory and are forgotten. Every portrait carries its settings "
    "and the mark of an AI-generated image. A face is biometric data: ask the person first.</p>"
)


def _header(found: dict[str, Any]) -> None:
    gr.HTML(_TOP, elem_id="top", apply_default_css=False)
    found["model"] = gr.HTML(show.note(LOADING, "hint"), elem_id="model", apply_default_css=False)
    found["consent"] = gr.Checkbox(label=CONSENT, elem_id="consent", container=False)


def _who(found: dict[str, Any]) -> None:
    with gr.Column(elem_classes="card", elem_id="who"):
        _title("Who", "One or several photos of the same person, or an identity file.")
        found["who"] = _drop(
            "Photos of the person",
            "Drop, or choose files. JPEG, PNG, WebP ..., or .safetensors",
            accept=f"{_PHOTOS},{SUFFIX}",
            multiple=True,
        )
        found["people"] = _buttons("people")
        with gr.Row(elem_classes="actions", elem_id="locked"):
            found["passphrase"] = gr.Textbox(
                label="Passphrase",
                type="password",
                visible=False,
                elem_id="passphrase",
                max_length=MAX_PASSPHRASE,
            )
            found["unlock"] = gr.Button("Open the file", visible=False, elem_id="unlock")
        found["who_note"] = _note()


def _how(found: dict[str, Any]) -> None:
    with gr.Column(elem_classes="card", elem_id="how"):
        _title("Pose and expression", "Start from a photo or a name; then move the sliders.")
        with gr.Row(elem_classes="drops"):
            found["target"] = _drop("Target photo", "pose and expression")
            found["pose_photo"] = _drop("Pose photo", "the pose alone")
            found["expression_photo"] = _drop("Expression photo", "the expression alone")
        found["how_note"] = _note()
        found["pose_start"] = _chips("Pose", pose_choices(None))
        with gr.Row(elem_classes="sliders", elem_id="pose-sliders"):
            posing = [_slider(field.name) for field in fields(PoseSliders)]
        found["expression_start"] = _chips("Expression", expression_choices((), None))
        with gr.Row(elem_classes="sliders", elem_id="expression-sliders"):
            acting = [_slider(field.name) for field in fields(ExpressionSliders)]
        found["sliders"] = (*posing, *acting)


def _what(found: dict[str, Any]) -> None:
    with gr.Column(elem_classes="card", elem_id="what"):
        _title("All the rest", "Clothes, light, place, style.")
        found["prompt"] = gr.Textbox(
            "a portrait photo, a blue background", label="Prompt", lines=2, max_lines=6, elem_id="prompt"
        )
        found["style"] = gr.Dropdown(
            style_choices(()), value=NO_STYLE, label="Style", elem_id="style", visible=False, filterable=False
        )
        found["strength"] = _number("Strength of the identity", (0.0, 2.0), 1.0, 0.05)
        with gr.Accordion("Steps, seed, count", open=False, elem_id="more"):
            found["steps"] = _number("Steps", (1.0, 60.0), 8.0, 1.0)
            found["guidance"] = _number("Guidance by the prompt; 1 is off", (1.0, 10.0), 1.0, 0.1)
            found["seed"] = gr.Number(
                1, label="Seed; the same seed draws the same PNG", precision=0, minimum=0, elem_id="seed"
            )
            found["count"] = _number("Portraits", (1.0, 8.0), 1.0, 1.0)
        with gr.Row(elem_classes="actions"):
            found["draw"] = gr.Button("Draw the portrait", variant="primary", elem_id="draw")
            found["stop"] = gr.Button("Stop", elem_id="stop", visible=False)
        found["draw_note"] = _note()
        with gr.Accordion("Draw a portrait again", open=False, elem_id="again"):
            found["replay"] = _drop(
                "A PNG of Diff-PC", "its settings return to the controls", accept="image/png"
            )
            found["replay_note"] = _note()


def _title(text: str, hint: str) -> None:
    gr.HTML(f'<h2>{text}</h2><p class="lead">{hint}</p>', apply_default_css=False)


def _drop(label: str, hint: str, accept: str = _PHOTOS, multiple: bool = False) -> gr.HTML:
    many = " multiple" if multiple else ""
    text = _DROP.format(label=label, hint=hint, multiple=many, accept=accept)
    load = "studio.drop(element, tokens => trigger('upload', {tokens}));"
    name = "-".join(label.lower().split())
    return gr.HTML(text, js_on_load=load, apply_default_css=False, elem_id=f"drop-{name}", min_width=80)


def _buttons(name: str) -> gr.HTML:
    load = "studio.buttons(element, data => trigger('click', data));"
    return gr.HTML(js_on_load=load, apply_default_css=False, elem_id=name)


def _note() -> gr.HTML:
    return gr.HTML(show.note(""), elem_classes="notes", apply_default_css=False)


def _chips(label: str, choices: list[tuple[str, str]]) -> gr.Radio:
    name = f"{label.lower()}-start"
    return gr.Radio(choices, value=REFERENCE, label=label, elem_id=name, elem_classes="chips")


def _slider(name: str) -> gr.Slider:
    """Its range is the model's."""
    return _number(_LABELS[name], (-1.0, 1.0), 0.0, step_of(name), f"slider-{name}")


def _number(
    label: str, limits: tuple[float, float], value: float, step: float, name: str | None = None
) -> gr.Slider:
    low, high = limits
    return gr.Slider(
        low, high, value, step=step, label=label, elem_id=name, min_width=130, interactive=True, buttons=[]
    )
