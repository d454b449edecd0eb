"""Events of drawing: order, watch, stop; use a portrait as the target, show its stages, replay a PNG."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from diffpc.errors import DiffPCError, UsageError
from diffpc.serve.jobs import FINISHED, Result, Status
from diffpc.serve.page import replaying, results, show
from diffpc.serve.page.layout import NO_STYLE
from diffpc.serve.page.ordering import ordered
from diffpc.serve.page.posing import QUIET, Posing, Updates, Values, data_of, tokens_of
from diffpc.serve.page.sitting import Source, with_source
from diffpc.serve.request import PortraitRequest

WAIT = 20.0
"""Seconds until the page looks at a job again though nothing changed."""

_PLAIN = ("prompt", "style", "strength", "steps", "guidance", "seed", "count")


@dataclass(frozen=True)
class Drawing:
    """The events, over the page's parts; the left side's do what changes photos and sliders."""

    posing: Posing

    def wire(self) -> None:
        """Connect the components."""
        parts, posing = self.posing.parts, self.posing
        plain: set[Block] = {getattr(parts, name) for name in _PLAIN}
        inputs: set[Block] = {parts.sitting, parts.consent, *parts.sliders, *plain}
        outputs = [
            parts.job,
            parts.draw,
            parts.stop,
            parts.draw_note,
            parts.progress,
            parts.results,
            parts.outcome_note,
            parts.stages,
        ]
        # The service has a queue of its own: the page's must not be another.
        parts.draw.click(
            self.draw,
            inputs,
            outputs,
            concurrency_limit=None,
            show_progress="hidden",
            api_visibility="private",
        )
        parts.stop.click(self.stop, {parts.job}, [parts.draw_note], **QUIET)
        given: set[Block] = {parts.sitting, parts.job, *parts.sliders}
        parts.results.click(self.press, given, [*posing.outputs, parts.outcome_note, parts.stages], **QUIET)
        parts.replay.upload(
            self.replay,
            given,
            [*posing.outputs, *plain, parts.replay_note],
            **QUIET,
        )

    def draw(self, values: Values) -> Generator[Updates]:
        """Order portraits and watch them come."""
        parts, studio = self.posing.parts, self.posing.studio
        try:
            job = studio.submit(self._order(values))
            status = studio.status(job)
            yield {**self._at_work(job), parts.progress: results.running(status)}
            while status.state not in FINISHED:
                status = studio.wait(job, status.version, WAIT)
                if status.state not in FINISHED:
                    yield {parts.progress: results.running(status)}
        except DiffPCError as error:
            yield {**self._at_rest(), parts.draw_note: show.note(str(error))}
        else:
            yield self._finished(status)

    def stop(self, values: Values) -> Updates:
        """Take the visitor's job back."""
        parts = self.posing.parts
        try:
            self.posing.studio.cancel(values[parts.job])
        except DiffPCError as error:
            return {parts.draw_note: show.note(str(error))}
        return {parts.draw_note: show.note("Stopping after this step.", "hint")}

    def press(self, values: Values, event: gr.EventData) -> Updates:
        """A button under a portrait."""
        parts, posing = self.posing.parts, self.posing
        data = data_of(event)
        try:
            result = self._result(values[parts.job], str(data.get("number")))
            if data.get("deed") == "stages":
                return {parts.stages: results.stages(result, posing.look.eyes.model), parts.outcome_note: ""}
            source = self._as_target(result)
        except DiffPCError as error:
            return {parts.outcome_note: show.note(str(error))}
        return posing.changed(
            values, parts.how_note, lambda old: with_source(old, source, "pose", "expression")
        ) | {parts.outcome_note: show.note("Pose and expression now start from that portrait.", "done")}

    def replay(self, values: Values, event: gr.EventData) -> Updates:
        """A PNG was dropped: its settings return to the controls."""
        parts, posing = self.posing.parts, self.posing
        try:
            upload = posing.tray.take(tokens_of(event)[0])
            again = replaying.read(upload.data, upload.name)
            sitting, sliders, missing = replaying.returned(again, posing.given(values)[0], posing.look)
        except DiffPCError as error:
            return {parts.replay_note: show.note(str(error))}
        making = posing.studio.painter.making
        style, remark = replaying.styled(again, making)
        note = replaying.said(upload.name, missing, remark + replaying.differing(again, making))
        plain = {getattr(parts, name): value for name, value in again.plain.items()}
        plain[parts.style] = style or NO_STYLE
        return posing.shown(sitting, sliders) | plain | {parts.replay_note: show.note(note, "done")}

    def _order(self, values: Values) -> PortraitRequest:
        parts, posing = self.posing.parts, self.posing
        if not values[parts.consent]:
            raise UsageError("First agree to the sentence at the top of the page: photos need consent.")
        plain = {name: values[getattr(parts, name)] for name in _PLAIN}
        whole = {name: int(plain[name] or 0) for name in ("steps", "seed", "count")}
        sitting, sliders = posing.given(values)
        style = plain["style"] or None
        return ordered(sitting, sliders, posing.look, **(plain | whole | {"style": style}))

    def _at_work(self, job: str) -> Updates:
        parts = self.posing.parts
        return {
            parts.job: job,
            parts.draw: gr.update(interactive=False),
            parts.stop: gr.update(visible=True),
            parts.draw_note: "",
            parts.results: "",
            parts.outcome_note: "",
            parts.stages: "",
        }

    def _at_rest(self) -> Updates:
        parts = self.posing.parts
        return {
            parts.draw: gr.update(interactive=True),
            parts.stop: gr.update(visible=False),
            parts.draw_note: "",
            parts.progress: "",
        }

    def _finished(self, status: Status) -> Updates:
        parts = self.posing.parts
        said = {
            "failed": show.note(f"No portrait: {(status.error or '').rstrip('.')}."),
            "cancelled": show.note("Stopped; nothing was kept.", "hint"),
        }
        return {
            **self._at_rest(),
            parts.draw_note: said.get(status.state, ""),
            parts.results: results.portraits(status.id, status.results),
        }

    def _result(self, job: str, number: str) -> Result:
        found = self.posing.studio.status(job).results
        if not number.isdecimal() or int(number) >= len(found):
            raise UsageError("That portrait is no longer there. Draw it again.")
        return found[int(number)]

    def _as_target(self, result: Result) -> Source:
        look = self.posing.look
        name = f"portrait-{result.portrait.seed}.png"
        return look.read(look.photo(result.png, name))
