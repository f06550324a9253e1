"""One logged completion as a report shows it: its text, its explanation, and the row that it belongs to.

Knows the lines of samples.jsonl and the reward; knows no other completion.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewards import RewardError, Sample, Score, Session, Weighted
from rewards.explain import Explanation, SessionNote, explain
from rewards.explain_sessions import moments
from rlkit.errors import DataError
from rlkit.reporting.blobs import Json, dumps

Line = dict[str, Any]
_NO_PARTS = Weighted({}, {})  # quotes and facts are found all the same


@dataclass(frozen=True)
class Item:
    """One completion, ready to be packed. `row` is None where an earlier item of the same chunk has it already."""

    step: int
    id: str
    source: str
    key: str
    row: Json | None
    text: str
    told: Json
    total: float | None
    maximum: float
    parts: Mapping[str, float | None]
    kinds: tuple[int, int, int]
    quoted_words: int


def item_of(line: Line, reward: Weighted | None, seen: set[str] | frozenset[str] = frozenset()) -> Item:
    """One line of samples.jsonl explained."""
    sample = Sample.from_record(line)
    given = line.get("score") or {}
    score = Score(given.get("total"), given.get("parts") or {}, given.get("maximum") or 0.0, given.get("errors") or {})
    told, problem = None, None
    if reward is not None and reward.parts.keys() != score.parts.keys() and score.parts:
        reward, problem = _shared(reward, score)
    try:
        told = explain(sample, reward or _NO_PARTS, score)
    except RewardError as error:
        problem = str(error)
    row = _row(sample, told)
    key = hashlib.blake2b(row.encode(), digest_size=12).hexdigest()
    quotes = told.quotes if told else ()
    kinds = [quote.kind for quote in quotes if quote.same_as is None]
    return Item(
        step=int(line.get("step") or 0),
        id=sample.id,
        source=sample.source,
        key=key,
        row=None if key in seen else row,
        text=sample.completion,
        told=_told(sample, told, problem),
        total=score.total,
        maximum=score.maximum,
        parts=score.parts,
        kinds=(kinds.count("verbatim"), kinds.count("fuzzy"), kinds.count("missing")),
        quoted_words=sum(len(quote.text.split()) for quote in quotes if quote.same_as is None),
    )


def _shared(reward: Weighted, score: Score) -> tuple[Weighted | None, str]:
    """The parts of the reward that were logged, and what that leaves unexplained."""
    both = [name for name in score.parts if name in reward.parts]
    logged = ", ".join(f"{name} {value}" for name, value in score.parts.items() if name not in both) or "none"
    problem = f"the config's reward is not the one that was logged; logged besides what is shown: {logged}"
    parts = {name: reward.parts[name] for name in both}
    return Weighted(parts, {name: reward.weights[name] for name in both}) if both else None, problem


def _row(sample: Sample, told: Explanation | None) -> Json:
    """What all completions of a row share."""
    row: dict[str, Any] = {
        "id": sample.id,
        "task": sample.task,
        "kind": sample.kind,
        "source": sample.source,
        "question": sample.question,
        "golds": list(sample.golds),
        "evidence": list(sample.evidence),
        "asked_at": sample.asked_at,
        "context": [[passage.title, passage.text] for passage in sample.context],
        "facts": [[fact.text, [list(place) for place in fact.places]] for fact in told.facts] if told else [],
    }
    if sample.sessions:
        judged = {note.id: note for note in told.sessions} if told else {}
        row["range"] = [_moment(bound) for bound in sample.time_range or (None, None)]
        row["sessions"] = [_session(session, judged.get(session.id)) for session in sample.sessions]
    return dumps(row)


def _session(session: Session, note: SessionNote | None) -> dict[str, Any]:
    scores = [event.score for event in note.events] if note else []
    events = [event for said in session.utterances for event in said.events]
    if len(scores) != len(events):
        scores = [None] * len(events)
    pairs = iter(zip(events, scores, strict=True))
    said = []
    for utterance in session.utterances:
        told = [
            [event.summary, _moment(event.start), _moment(event.end), score]
            for event, score in (next(pairs) for _ in utterance.events)
        ]
        said.append([utterance.speaker, utterance.text, utterance.time, told])
    return {
        "id": session.id,
        "date": _moment(session.date),
        "said": said,
        "gold": bool(note and note.gold),
        "in_range": note.in_range if note else None,
        "value": note.value if note else None,
        "why": note.reason.partition("; ")[2] if note else "",
    }


def _moment(text: str | None) -> list[str] | None:
    """A date as written, with its first and last second where it can be read."""
    return None if text is None else [text, *(moments(text) or ())]


def _told(sample: Sample, told: Explanation | None, problem: str | None) -> Json:
    if told is None:
        return dumps({"problem": problem} if problem else {})
    value: dict[str, Any] = {"problem": problem} if problem else {}
    if told.parts:
        value["parts"] = [[part.name, part.value, part.weight, part.best, list(part.reasons)] for part in told.parts]
    if told.quotes:
        value["quotes"] = [
            [q.start, q.end, q.kind, q.similarity, q.place, q.changes, q.reason, q.same_as] for q in told.quotes
        ]
    if sample.sessions:
        value["selected"] = [[note.id, note.exists, note.reason] for note in told.sessions if note.selected]
    return dumps(value)


def loads(path: Path, number: int, line: bytes) -> Line:
    try:
        value = json.loads(line)
    except ValueError as error:
        if not line.endswith(b"\n"):
            return {}
        raise DataError(f"{path}:{number}: not a line of JSON ({error}); the run folder is damaged.") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}:{number}: holds no object; the run folder is damaged.")
    return value
