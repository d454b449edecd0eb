"""A user study: one static page, four questions, pictures in random order, answers as JSON; and what they say.

The questions are those of the paper's study (Sec. 5.3): identity, pose and expression, text, quality.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from diffpc.errors import InputError, UsageError
from diffpc.evaluate.manifest import Case, Manifest
from diffpc.evaluate.pictures import SIDE, data_address
from diffpc.evaluate.prompts import number_of
from diffpc.evaluate.stats import Figure, Rule, summarise
from diffpc.files import atomic_write
from diffpc.images import cover_crop, read_image
from diffpc.records import read_json

QUESTIONS: dict[str, str] = {
    "identity": "Which portrait shows the person of the reference photo best?",
    "pose": "Which portrait has the head pose and the expression of the target photo best?",
    "text": "Which portrait fits the text best?",
    "quality": "Which portrait looks best?",
}
"""name -> what is asked."""

LETTERS = "ABCDEFGH"
"""What systems are called on the page; more cannot be compared at a glance."""


@dataclass(frozen=True)
class Item:
    """One case with its portraits in the order in which they are shown."""

    case: Case
    order: tuple[str, ...]
    """Names of the systems, A first."""


def items(manifest: Manifest, systems: Mapping[str, Path], count: int, seed: int = 0) -> tuple[Item, ...]:
    """Cases for a study, as many persons as can be, each with its own order of systems.

    Args:
        manifest: the benchmark.
        systems: name -> folder of pictures; only cases that all have drawn are asked about.
        count: how many.
        seed: of the choice.

    Raises:
        UsageError: for fewer than two or more than eight systems.
        InputError: if no case was drawn by all.
    """
    if not 2 <= len(systems) <= len(LETTERS):
        raise UsageError(f"a study compares 2 to {len(LETTERS)} systems, not {len(systems)}")
    drawn = [
        one for one in manifest.cases() if all((folder / one.name).is_file() for folder in systems.values())
    ]
    if not drawn:
        raise InputError("no case was drawn by all systems; draw more of the benchmark")
    turn: dict[str, int] = {}
    ranked: list[tuple[int, int, Case]] = []
    for case in sorted(drawn, key=lambda one: number_of(seed, one.name)):
        turn[case.of.person] = turn.get(case.of.person, -1) + 1
        ranked.append((turn[case.of.person], number_of(seed, case.name), case))
    chosen = [case for *_, case in sorted(ranked, key=lambda one: one[:2])[:count]]
    return tuple(
        Item(case, tuple(sorted(systems, key=lambda name: number_of(seed, f"{case.name}/{name}"))))
        for case in chosen
    )


def write_study(
    manifest: Manifest, photos: Path, systems: Mapping[str, Path], chosen: Sequence[Item], output: Path
) -> None:
    """Write study.html and key.json; the page does not say which system is which.

    Raises:
        InputError: if a picture cannot be read.
    """
    blocks = [_block(number, item, photos, systems) for number, item in enumerate(chosen)]
    about = {"benchmark": manifest.name, "manifest": manifest.digest, "study": _digest(chosen)}
    page = _PAGE.replace("{{blocks}}", "\n".join(blocks)).replace("{{about}}", json.dumps(about))
    key = {**about, "order": {item.case.name: list(item.order) for item in chosen}}
    for name, content in (
        ("study.html", page),
        ("key.json", json.dumps(key, indent=1, sort_keys=True) + "\n"),
    ):
        with atomic_write(output / name) as stream:
            stream.write(content.encode())


def analyse(key: Path, answers: Sequence[Path]) -> list[Figure]:
    """Share of the votes per question and system, with intervals by a bootstrap over participants.

    Args:
        key: key.json of the study.
        answers: one JSON file per participant, as the page saves it.

    Raises:
        InputError: if an answer is malformed or of another study.
    """
    known = read_json(key, "give the key.json of the study")
    order: dict[str, list[str]] = known.get("order", {})
    votes: list[tuple[str, str, str]] = []
    for path in answers:
        given = read_json(path, "ask the participant to save it again")
        if given.get("study") != known.get("study"):
            raise InputError(f"{path}: is of another study; give answers to this one")
        for case, replies in dict(given.get("answers", {})).items():
            votes += [
                (path.stem, question, _system(order, case, letter, path))
                for question, letter in replies.items()
            ]
    names = sorted({name for each in order.values() for name in each})
    return [_share(question, name, votes) for question in QUESTIONS for name in names]


def _share(question: str, name: str, votes: Sequence[tuple[str, str, str]]) -> Figure:
    asked = [(who, chosen) for who, about, chosen in votes if about == question]
    values = np.array([float(chosen == name) for _, chosen in asked])
    return summarise(values, [who for who, _ in asked], Rule(f"{question}: {name}", scale=100.0, unit="%"))


def _system(order: Mapping[str, Any], case: str, letter: Any, path: Path) -> str:
    if case not in order or letter not in LETTERS[: len(order[case])]:
        raise InputError(f"{path}: answers {letter!r} to {str(case)[:80]!r}, which the study does not ask")
    return order[case][LETTERS.index(letter)]


def _block(number: int, item: Item, photos: Path, systems: Mapping[str, Path]) -> str:
    case = item.case
    prompt = case.of.prompts[case.prompt].text
    sources = (
        ("Reference", photos / case.of.reference.path),
        ("Target", photos / case.of.targets[case.target].path),
    )
    shown = [(title, path) for title, path in sources]
    shown += [(LETTERS[place], systems[name] / case.name) for place, name in enumerate(item.order)]
    pictures = "".join(
        f'<figure><img src="{_picture(path)}" alt=""><figcaption>{title}</figcaption></figure>'
        for title, path in shown
    )
    asked = "".join(_question(number, name, words, len(item.order)) for name, words in QUESTIONS.items())
    return (
        f'<section data-case="{escape(case.name)}"><h2>{number + 1}</h2><div class="row">{pictures}</div>'
        f"<p>Text: <i>{escape(prompt)}</i></p>{asked}</section>"
    )


def _question(number: int, name: str, words: str, count: int) -> str:
    choices = "".join(
        f'<label><input type="radio" name="{number}-{name}" data-question="{name}" value="{letter}"> {letter}</label> '
        for letter in LETTERS[:count]
    )
    return f"<p>{escape(words)}<br>{choices}</p>"


def _picture(path: Path) -> str:
    return data_address(cover_crop(read_image(path), SIDE, SIDE))


def _digest(chosen: Sequence[Item]) -> str:
    text = json.dumps([[item.case.name, item.order] for item in chosen])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Portraits: four questions</title><style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em }
section { border-top: 1px solid #ccc; padding: 1em 0 } .row { display: flex; flex-wrap: wrap; gap: .8em }
figure { margin: 0 } img { width: 176px; height: 176px } figcaption { text-align: center } label { margin-right: 1.2em }
</style></head><body><h1>Portraits: four questions</h1>
<p>Each portrait should show the person of the reference photo, with the head pose and the expression of the target
photo, and what the text says. Answer what you can; at the end save your answers and send the file.</p>
<main>{{blocks}}</main><p><button id="save">Save my answers</button> <span id="done"></span></p><script>
const about = {{about}}, main = document.querySelector("main"), sections = [...main.children];
for (let i = sections.length - 1; i > 0; i--) {  // everyone sees the cases in another order
  const j = Math.floor(Math.random() * (i + 1)); [sections[i], sections[j]] = [sections[j], sections[i]];
}
sections.forEach((one, i) => { one.querySelector("h2").textContent = i + 1; main.append(one); });
document.getElementById("save").onclick = () => {
  const answers = {};
  for (const one of sections) for (const choice of one.querySelectorAll("input:checked"))
    (answers[one.dataset.case] ??= {})[choice.dataset.question] = choice.value;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify({...about, answers})], {type: "application/json"}));
  link.download = "answers-" + Math.random().toString(36).slice(2, 10) + ".json"; link.click();
  document.getElementById("done").textContent = Object.keys(answers).length + " of " + sections.length + " answered";
};
</script></body></html>
"""
