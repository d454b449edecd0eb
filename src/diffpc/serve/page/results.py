"""Drawing as the page shows it: progress with a preview, the portraits with what is known of them, the stages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from diffpc.eyes import Likeness
from diffpc.face3d.model import FaceModel
from diffpc.serve.jobs import Result, Status
from diffpc.serve.page.canvas import drawn
from diffpc.serve.page.show import data_uri, thumbnail
from diffpc.types import Image

PORTRAITS = "page/portraits"
"""Below it the page fetches `JOB/NUMBER.png`."""

STAGE_SIDE = 256
"""Longest side of a stage's picture, in pixels."""


def running(status: Status) -> str:
    """How far a job is."""
    step = status.step
    if status.state == "queued":
        before = f"{status.position} before it" if status.position else "it is next"
        return _progress(f"Waiting; {before}.", None)
    if step is None:
        return _progress("Looking at the photos ...", None)
    which = f"Portrait {step.portrait + 1} of {step.portraits}, " if step.portraits > 1 else ""
    words = f"{which}step {step.done} of {step.steps}"
    return _progress(words[0].upper() + words[1:], step.fraction, step.preview)


def portraits(job: str, results: Sequence[Result]) -> str:
    """The finished portraits, each with its likeness and what can be done with it."""
    items = "".join(_portrait(job, number, one) for number, one in enumerate(results))
    single = " single" if len(results) == 1 else ""
    return f'<ul class="portraits{single}">{items}</ul>' if results else ""


def stages(result: Result, model: FaceModel) -> str:
    """What each stage saw on the way to one portrait."""
    features, control = result.drawn.identity.features, result.drawn.control
    pictures = [
        ("The face as the embedder sees it", features.aligned),
        ("The part that the patch features see", features.cut),
        (
            "The 3D face: the person's shape, the wanted pose and expression",
            drawn(control.params, model, control.view),
        ),
        ("I_3d, the condition of ID-Ctrl", control.picture()),
        ("The person's skin on it, as far as the photo shows it", control.skin_picture()),
        ("The portrait", result.portrait.image),
    ]
    items = "".join(_stage(words, picture) for words, picture in pictures if picture is not None)
    seconds = ", ".join(
        f"{name} {value:.2f}" for name, value in result.drawn.seconds.items() if value >= 0.005
    )
    return (
        f'<section class="stages" aria-label="The stages of the portrait with seed {result.portrait.seed}">'
        f'<h2>The stages</h2><ol>{items}</ol><p class="lead">Seconds: {seconds}</p></section>'
    )


def _progress(words: str, fraction: float | None, preview: Image | None = None) -> str:
    picture = (
        f'<img src="{data_uri(thumbnail(preview))}" alt="The portrait so far">' if preview is not None else ""
    )
    value = "" if fraction is None else f' value="{fraction:.3f}"'
    return (
        f'<div class="running" role="status">{picture}<p>{escape(words)}</p>'
        f'<progress max="1"{value} aria-label="Progress"></progress></div>'
    )


def _portrait(job: str, number: int, result: Result) -> str:
    seed = result.portrait.seed
    if result.withheld:
        return f'<li><p class="note error">Portrait with seed {seed}: {escape(result.withheld)}.</p></li>'
    place = f"{PORTRAITS}/{escape(job)}/{number}.png"
    height, width = result.portrait.image.shape[:2]
    deed = '<button type="button" class="deed" data-deed="{}" data-number="{}">{}</button>'
    return (
        f'<li><img src="{place}" width="{width}" height="{height}" alt="Portrait with seed {seed}: '
        f'{escape(result.portrait.prompt)}">{_figures(result.portrait.likeness, seed)}<div class="deeds">'
        f'<a class="deed first" href="{place}" download="portrait-{seed}.png">Download</a>'
        f"{deed.format('target', number, 'Use as target')}{deed.format('stages', number, 'Show the stages')}"
        "</div></li>"
    )


def _figures(likeness: Likeness, seed: int) -> str:
    if likeness.similarity is None or likeness.pose_error is None or likeness.expression_error is None:
        rows = [("No face was found in it", "")]
    else:
        rows = [
            ("Similarity", f"{likeness.similarity:.2f}"),
            ("Pose error", f"{likeness.pose_error:.1f}°"),
            ("Expression error", f"{likeness.expression_error:.3f}"),
        ]
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{value}</dd>' for name, value in [*rows, ('Seed', str(seed))])}</dl>"


def _stage(words: str, picture: Image) -> str:
    source = data_uri(thumbnail(picture, STAGE_SIDE))
    return f'<li><figure><img src="{source}" alt="{words}"><figcaption>{words}</figcaption></figure></li>'
