"""The third step: observations -> figures, controls and one row per portrait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffpc.errors import InputError, UsageError
from diffpc.evaluate import clip, inception
from diffpc.evaluate.clip import load_clip
from diffpc.evaluate.columns import PARTS, Column, Judges, columns
from diffpc.evaluate.distances import distance_figures
from diffpc.evaluate.draw import LOG, SYSTEM
from diffpc.evaluate.gauge import load_gauge
from diffpc.evaluate.inception import load_inception
from diffpc.evaluate.manifest import Manifest
from diffpc.evaluate.metrics import cosine
from diffpc.evaluate.observe import Witnesses
from diffpc.evaluate.options import ScoreOptions
from diffpc.evaluate.stats import Figure, Rule, summarise, unavailable
from diffpc.evaluate.table import Shuffled, Table, gather, shuffled
from diffpc.evaluate.verification import Calibration, load_calibration
from diffpc.face3d.model import load_face_model
from diffpc.face3d.predict import load_predictor
from diffpc.faces.detect import load_detector
from diffpc.faces.embed import load_embedder
from diffpc.records import read_json, read_lines, write_json
from diffpc.settings import from_dict
from diffpc.types import Say

PLACE = "scores"
"""Folder of all that scoring makes, in the folder of the pictures."""

SCORES = "scores.json"
"""What a report is made of."""

UNKNOWN = {"name": "unknown"}
"""The system of a folder that does not say what drew it."""

EXCHANGES = 10
"""Random exchanges that a control is the mean of: a single one may happen to bring like persons together."""

CONTROLS: dict[Shuffled, tuple[str, ...]] = {
    "references": ("Sim", "accepted", "top-1", "Shape", "CLIP_i"),
    "targets": ("Expr", "Pose", "yaw", "correlation"),
    "prompts": ("CLIP_t", "obedience", "background as asked"),
}
"""What is exchanged between persons, and how the names of the metrics begin that must fall."""


@dataclass(frozen=True)
class Entry:
    """A figure and where it stands in the report."""

    part: str
    figure: Figure


@dataclass(frozen=True)
class Control:
    """A figure, and what is left of it when references, targets or prompts are other persons'."""

    shuffled: str
    figure: Figure
    control: Figure
    loss: Figure
    """How much worse the control is, portrait by portrait."""

    @property
    def falls(self) -> bool:
        """Whether the control is worse beyond doubt: the whole interval of the loss lies above 0."""
        return self.loss.low is not None and self.loss.low > 0


@dataclass(frozen=True)
class Scores:
    """All that is known of one system on one benchmark."""

    benchmark: str
    manifest: str
    """sha256."""
    source: str
    system: dict[str, Any]
    witnesses: str
    """Digest of who looked."""
    entries: tuple[Entry, ...]
    controls: tuple[Control, ...]
    portraits: tuple[str, ...]
    """Names, row by row."""
    columns: dict[str, list[float | None]]
    """Metric -> one value per portrait, None where it was missed or does not apply."""


def score(manifest: Manifest, photos: Path, folder: Path, options: ScoreOptions, say: Say) -> Scores:
    """Score the pictures in a folder and write scores/scores.json and the observations below it.

    Args:
        manifest: the benchmark.
        photos: folder of its photos.
        folder: of pictures by the manifest's names; what draws them need not be Diff-PC.
        options: who looks.
        say: takes news.

    Raises:
        UsageError: for unknown names.
        InputError: for missing or broken files.
    """
    witnesses = load_witnesses(options)
    system = _system(folder, manifest)
    table = gather(manifest, photos, folder, witnesses, folder / PLACE, say)
    texts = next((one for one in witnesses.images if isinstance(one, clip.ClipWitness)), None)
    if texts:
        table = replace(table, texts=texts.texts([prompt.text for prompt in table.prompts]))
    judges = _judges(options, witnesses, system, texts.name if texts else None)
    found = columns(table, judges)
    entries = [Entry(one.part, _figure(one, table)) for one in found]
    entries += [Entry(PARTS[0], one) for one in _real_pairs(table, judges)]
    entries += [Entry(PARTS[3], one) for one in _whole(table, witnesses, folder)]
    scores = Scores(
        manifest.name,
        manifest.digest,
        manifest.source,
        system,
        witnesses.digest,
        tuple([*entries, *_missing(options)]),
        tuple(_controls(table, judges, found)),
        tuple(case.name for case in table.cases),
        {one.rule.name: _listed(one) for one in found},
    )
    write_json(folder / PLACE / SCORES, asdict(scores))
    return scores


def load_scores(path: Path) -> Scores:
    """What `score` wrote; of a folder of pictures, or of that file.

    Raises:
        InputError: if it is missing or malformed.
    """
    place = path / PLACE / SCORES if path.is_dir() else path
    values = read_json(place, "make it with `diffpc evaluate score`")
    plain = {name: values.pop(name, {}) for name in ("system", "columns")}
    try:
        known = from_dict(_Stored, values, str(place))
    except UsageError as error:
        raise InputError(f"{error}; make it again with `diffpc evaluate score`") from error
    return Scores(**{name: getattr(known, name) for name in values}, **plain)


def load_witnesses(options: ScoreOptions) -> Witnesses:
    """Everything that looks at pictures.

    Raises:
        UsageError: for unknown names.
        InputError: for missing or broken weights.
    """
    images = [load_clip(options.clip, options.clip_sha256)] if options.clip else []
    more = [load_inception(options.inception)] if options.inception else []
    return Witnesses(
        detector=load_detector(options.detector),
        embedders=tuple(load_embedder(name) for name in options.embedders),
        predictor=load_predictor(options.predictor),
        gauge=load_gauge(),
        images=(*images, *more),
        names=(("detector", options.detector), ("predictor", options.predictor)),
    )


@dataclass(frozen=True)
class _Stored:
    """The part of `Scores` that has fixed fields."""

    benchmark: str
    manifest: str
    source: str
    witnesses: str
    entries: tuple[Entry, ...]
    controls: tuple[Control, ...]
    portraits: tuple[str, ...]


def _system(folder: Path, manifest: Manifest) -> dict[str, Any]:
    if not (folder / SYSTEM).is_file():
        return UNKNOWN
    found = read_json(folder / SYSTEM, "remove it if the pictures are by the manifest's names")
    if found.get("manifest") != manifest.digest:
        raise InputError(f"{folder}: its pictures are of another benchmark; give its own manifest")
    system = found.get("system")
    return system if isinstance(system, dict) else UNKNOWN


def _judges(options: ScoreOptions, witnesses: Witnesses, system: dict[str, Any], text: str | None) -> Judges:
    files = {read_json(path, "give a calibration").get("embedder"): path for path in options.calibration}
    model = load_face_model(options.face_model)
    faces = system.get("faces")
    return Judges(
        calibrations=tuple(
            load_calibration(name, files.get(name)) or Calibration(name, (), 0.0, 0, "")
            for name in options.embedders
        ),
        conditions=faces.get("embedder") if isinstance(faces, dict) else None,
        expressions=tuple(getattr(model, "expression_names", ())),
        attributes=witnesses.gauge.settings.attributes,
        images=(text,) if text else (),
        gestures=witnesses.gauge.settings.expressions,
    )


def _figure(column: Column, table: Table) -> Figure:
    rows = _rows(column)
    persons = [person for person, keep in zip(table.persons, rows, strict=True) if keep]
    return summarise(column.values[rows], persons, column.rule)


def _listed(column: Column) -> list[float | None]:
    rows = _rows(column)
    scaled = column.values * column.rule.scale
    return [
        round(float(value), 5) if keep and np.isfinite(value) else None
        for value, keep in zip(scaled, rows, strict=True)
    ]


def _controls(table: Table, judges: Judges, real: Sequence[Column]) -> list[Control]:
    found: list[Control] = []
    if len(set(table.persons)) < 2:
        return found
    for what, names in CONTROLS.items():
        rounds = [columns(shuffled(table, what, seed), judges) for seed in range(EXCHANGES)]
        for one, *others in zip(real, *rounds, strict=True):
            if one.rule.name.startswith(names):
                mean = _averaged(others)
                found.append(
                    Control(what, _figure(one, table), _figure(mean, table), _loss(one, mean, table))
                )
    return found


def _averaged(rounds: Sequence[Column]) -> Column:
    """Each portrait's mean over the rounds that it has a value in; missed faces count as the metric counts them."""
    values = np.stack([np.where(_rows(one), _filled(one), np.nan) for one in rounds])
    count = np.isfinite(values).sum(axis=0)
    mean = np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)
    return Column(rounds[0].part, rounds[0].rule, mean, np.any([_rows(one) for one in rounds], axis=0))


def _loss(real: Column, control: Column, table: Table) -> Figure:
    """Of the portraits that both are about."""
    sign = 1.0 if real.rule.better == "higher" else -1.0
    rule = Rule(f"loss of {real.rule.name}", scale=real.rule.scale)
    lost = sign * (_filled(real) - _filled(control))
    return _figure(Column(real.part, rule, lost, _rows(real) & _rows(control)), table)


def _filled(column: Column) -> np.ndarray:
    missed = column.rule.missed
    return column.values if missed is None else np.where(np.isnan(column.values), missed, column.values)


def _rows(column: Column) -> np.ndarray:
    return np.ones(len(column.values), bool) if column.applies is None else column.applies


def _real_pairs(table: Table, judges: Judges) -> list[Figure]:
    """What two real photos of one person reach: the scale that Sim is to be read on."""
    first = {case.of.person: row for row, case in enumerate(table.cases) if case.of.other is not None}
    rows, found = list(first.values()), list[Figure]()
    for known in judges.calibrations if rows else ():
        name = f"vector/{known.embedder}"
        pairs = table.value("references", name)[rows], table.value("others", name)[rows]
        rule = Rule(
            f"Sim of two real photos ({known.embedder})",
            "",
            scale=100.0,
            note="the scale of Sim: reference, other",
        )
        found.append(summarise(cosine(*pairs, known.offset), list(first), rule))
    return found


def _whole(table: Table, witnesses: Witnesses, folder: Path) -> list[Figure]:
    found: list[Figure] = []
    kinds = {one.name: one.name for one in witnesses.images if one.name == "inception"}
    kinds |= {one.name: f"vector/{one.name}" for one in witnesses.embedders}
    for name, key in kinds.items():
        others = {case.of.person: row for row, case in enumerate(table.cases)}
        real = np.concatenate([table.people[key], table.value("others", key)[list(others.values())]])
        found += distance_figures(name, real, table.value("portraits", key))
    return [*found, *_costs(folder)]


def _costs(folder: Path) -> list[Figure]:
    """Time and memory, as the system itself noted them."""
    lines = [line for line in read_lines(folder / LOG) if not line.get("error")]
    warm = [line for line in lines if line.get("warm")]
    if not warm:
        return [unavailable("seconds per portrait", "a log of the drawing system", "lower")]
    persons = [str(line["name"]).split("/")[0] for line in warm]
    stages = sorted({stage for line in warm for stage in line["seconds"]})
    means = {stage: sum(line["seconds"].get(stage, 0.0) for line in warm) / len(warm) for stage in stages}
    note = "warm; " + ", ".join(f"{stage} {value:.3f}" for stage, value in means.items())
    total = np.array([sum(line["seconds"].values()) for line in warm])
    memory = [value for line in lines for value in line.get("memory_mib", {}).values()]
    peak = Figure("peak memory, MiB", max(memory), count=len(lines), better="lower") if memory else None
    return [
        summarise(total, persons, Rule("seconds per portrait", "lower", note=note)),
        *([peak] if peak else []),
    ]


def _missing(options: ScoreOptions) -> list[Entry]:
    found = []
    if options.clip is None:
        found += [
            Entry(PARTS[0], unavailable("CLIP_i", clip.NEEDS)),
            Entry(PARTS[2], unavailable("CLIP_t", clip.NEEDS)),
        ]
    if options.inception is None:
        found += [
            Entry(PARTS[3], unavailable(name, inception.NEEDS, "lower")) for name in ("FID", "KID x 1000")
        ]
    return found
