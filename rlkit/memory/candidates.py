"""Which sessions of a memory a question's prompt shows: time range, then BM25, then a token budget; recall comes first.

Training and inference call the same `Candidates.apply`. Knows dates, ranks and lengths; knows no model, and reads a
label only where its options say so (`time_range: annotated`, `keep_gold`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from rewards.dates import first_moment, last_moment, read_date
from rewards.parse_memory import session_key
from rlkit.data.layout import Report
from rlkit.data.record import Record
from rlkit.errors import ConfigError, DataError, nearest
from rlkit.memory.prompt import session_text
from rlkit.memory.retriever import Ranked, rank

if TYPE_CHECKING:
    from rlkit.memory.time_range import Predictor

TIME_RANGES = ("none", "annotated", "rules")

_EVER = (datetime.min, datetime.max)


@dataclass(frozen=True)
class Told:
    """What `Candidates.apply` did to one record; sessions go by their ids.

    `time_range` is the range as it was widened, None where no bound is known; `range_held_none` says that no session
    lay in it, so that all were kept. `ranked` holds the sessions that passed the range with their BM25 scores, best
    first. `lost` holds what each stage (`time_range`, `top_k`, `budget_tokens`) took out, `gold_lost` the labelled ones
    among them, where stage `memory` stands for labels that name no session of the memory. `tokens` counts the sessions
    that are shown. `problem` says why nothing can be learnt from the record; it is empty where something can.
    """

    time_range: tuple[str | None, str | None] | None = None
    range_held_none: bool = False
    ranked: tuple[tuple[str, float], ...] = ()
    lost: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gold_lost: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tokens: int | None = None
    problem: str = ""

    def note(self, report: Report, row_id: str) -> None:
        """Count in a source's report by which stage the row lost gold sessions."""
        for stage in self.gold_lost:
            report.note(
                "a gold session is not in the memory"
                if stage == "memory"
                else f"a gold session lost to memory.{stage}",
                row_id,
            )


@dataclass(frozen=True)
class Candidates:
    """The stages and their limits (Memory-T1, "Candidate generation"): the config section `memory:`.

    `time_range` says where a question's range comes from: `rules` predicts it, `annotated` reads the record's label,
    `none` skips the stage. `margin_days` widen it on both sides, because things are told days after they happened.
    `top_k` sessions stay, as far as `budget_tokens` hold their text; None = no limit. `keep_gold` puts the labelled
    sessions before all others in every stage, which is for training alone.

    >>> Candidates(time_range="rule")
    Traceback (most recent call last):
    rlkit.errors.ConfigError: memory.time_range: is 'rule', but must be one of none, annotated, rules. Did you mean 'rules'?
    """

    top_k: int | None = 10
    budget_tokens: int | None = 16_000
    time_range: str = "rules"
    margin_days: float = 7
    keep_gold: bool = False

    def __post_init__(self) -> None:
        _check({option.name: getattr(self, option.name) for option in fields(self)}, "memory")

    @classmethod
    def from_config(cls, section: Mapping[str, Any] | None, path: str = "memory") -> Candidates:
        """The options in a config section; raises `ConfigError` with the path, the rule and the nearest name.

        >>> Candidates.from_config({"top_k": 5}).budget_tokens
        16000
        """
        if section is not None and not isinstance(section, Mapping):
            raise ConfigError(f"{path}: is {section!r:.80}, but must be a mapping such as {{top_k: 10}}.")
        given = dict(section or {})
        _check(given, path)
        return cls(**given)

    def apply(
        self, record: Record, count_tokens: Callable[[str], int] | None, predict: Predictor | None = None
    ) -> tuple[Record, Told]:
        """The record with the sessions that its prompt shall show, in chronological order, and what became of the rest.

        `count_tokens` counts a session as the prompt shows it, and may be None only where there is no budget.
        `predict(question, asked_at)` gives the range in place of what the options name. Evidence that is not shown
        moves from `evidence` to the column `evidence_lost`, because no reward may pay for naming a session that the
        prompt does not show; recall is measured against both. A record of another task stays as it is. Raises
        `DataError` for a range that cannot be read.

        >>> memory = [{"id": f"s{month}", "date": f"2024-0{month}-05", "utterances": [{"speaker": "Ann", "text": text}]}
        ...           for month, text in enumerate(["I got a dog.", "Rain.", "My dog is ill.", "More rain."], 1)]
        >>> row = {"id": "q1", "task": "memory_t1", "question": "How was the dog?", "sessions": memory,
        ...        "evidence": ["s1", "s3"], "time_range": ["2024-02-01", None]}
        >>> shown, told = Candidates(top_k=1, time_range="annotated").apply(row, lambda text: len(text.split()))
        >>> [session["id"] for session in shown["sessions"]], told.lost
        (['s3'], {'time_range': ('s1',), 'top_k': ('s2', 's4')})
        >>> shown["evidence"], shown["evidence_lost"]
        (['s3'], ['s1'])
        """
        if record.get("task") != "memory_t1":
            return record, Told()
        sessions = record.get("sessions") or []
        names = [session_key(session["id"]) for session in sessions]
        gold = list(dict.fromkeys(map(session_key, record.get("evidence") or ())))
        first = {position for position, name in enumerate(names) if self.keep_gold and name in gold}

        span = self._span(record, predict)
        inside = [position for position, session in enumerate(sessions) if span is None or overlaps(session, span)]
        passed = sorted({*inside, *first}) if inside else list(range(len(sessions)))
        ranked = rank(sessions, record["question"], None if len(passed) == len(sessions) else passed)
        best = _best(ranked, first, self.top_k)
        kept, tokens = _within(self.budget_tokens, sessions, best, first, count_tokens)

        narrowed = _narrowed(record, [sessions[position] for position in kept], {names[position] for position in kept})
        lost = {
            "memory": [name for name in gold if name not in names],
            "time_range": _without(range(len(sessions)), passed, names),
            "top_k": _without(passed, best, names),
            "budget_tokens": _without(best, kept, names),
        }
        return narrowed, Told(
            time_range=None if span is None else _written(span),
            range_held_none=bool(sessions) and not inside,
            ranked=tuple((names[position], score) for position, score in ranked),
            lost=_filled(lost.items()),
            gold_lost=_filled((stage, [name for name in gone if name in gold]) for stage, gone in lost.items()),
            tokens=tokens,
            problem=_problem(narrowed, bool(gold)),
        )

    def _span(self, record: Record, predict: Predictor | None) -> tuple[datetime, datetime] | None:
        """The range, widened; None where neither bound is known."""
        if predict is None and self.time_range == "rules":
            from rlkit.memory.time_range import rule_based

            predict = rule_based(margin_days=0)  # it is widened below
        if predict is not None:
            start, end = predict(record["question"], record.get("asked_at"))
        elif self.time_range == "annotated":
            start, end = record.get("time_range") or (None, None)
        else:
            return None
        if start is None and end is None:
            return None
        where = f"row {record.get('id', '?')}: time_range"
        margin = timedelta(days=self.margin_days)
        first = _moment(start, first_moment, where) if start is not None else None
        last = _moment(end, last_moment, where) if end is not None else None
        return (
            first - margin if first and first - datetime.min > margin else datetime.min,
            last + margin if last and datetime.max - last > margin else datetime.max,
        )


def overlaps(session: Mapping[str, Any], span: tuple[datetime, datetime]) -> bool:
    """Whether a session may belong to a range: its date, or any of its events, is not known to lie outside.

    An unknown bound of an event is open; an event without a known bound says nothing; a session without a date that
    can be read is kept, because nothing proves that it lies outside.

    >>> march = datetime(2024, 3, 1), datetime(2024, 3, 31)
    >>> overlaps({"date": "2024-04-05", "utterances": []}, march), overlaps({"date": None}, march)
    (False, True)
    >>> walk = {"summary": "Ann walked", "start": "2024-03-30", "end": None}
    >>> overlaps({"date": "2024-04-05", "utterances": [{"text": "", "events": [walk]}]}, march)
    True
    """
    day = read_date(session.get("date") or "")
    if day is None or (first_moment(day) <= span[1] and last_moment(day) >= span[0]):
        return True
    events = (event for said in session.get("utterances") or () for event in said.get("events") or ())
    return any(_event_overlaps(event, span) for event in events)


def _event_overlaps(event: Mapping[str, Any], span: tuple[datetime, datetime]) -> bool:
    start, end = read_date(event.get("start") or ""), read_date(event.get("end") or "")
    if start is None and end is None:
        return False
    first = first_moment(start) if start else datetime.min
    last = last_moment(end) if end else datetime.max
    return min(first, last) <= span[1] and max(first, last) >= span[0]


def _best(ranked: Sequence[Ranked], first: Collection[int], top_k: int | None) -> list[int]:
    """The positions in the order in which the budget takes them; those of `first` stay, even if they are more than k."""
    positions = [session.position for session in ranked]
    positions.sort(key=lambda position: position not in first)
    return positions if top_k is None else positions[: max(top_k, len(first))]


def _within(
    budget_tokens: int | None,
    sessions: Sequence[Mapping[str, Any]],
    best: Sequence[int],
    first: Collection[int],
    count_tokens: Callable[[str], int] | None,
) -> tuple[list[int], int | None]:
    """Whole sessions, best first, as many as the budget holds; one that does not fit is passed over."""
    if count_tokens is None:
        if budget_tokens is not None:
            raise ConfigError(
                f"memory.budget_tokens: is {budget_tokens}, but there is no tokenizer to count with; set it to null or "
                "give count_tokens."
            )
        return list(best), None
    kept, tokens = [], 0
    for position in best:
        cost = count_tokens(session_text(sessions[position]) + "\n\n")
        if budget_tokens is None or tokens + cost <= budget_tokens:
            kept.append(position)
            tokens += cost
    return kept, tokens


def _narrowed(record: Record, sessions: list[dict[str, Any]], shown: Collection[str]) -> Record:
    # Chronological, because that is how a dialogue is read, and because an order by rank would tell the model which
    # sessions are gold where `keep_gold` puts them first. Undated sessions come last, in the order of the memory.
    ordered = sorted(sessions, key=lambda session: _first_day(session.get("date")))
    narrowed: dict[str, Any] = {**record, "sessions": ordered}
    labelled = record.get("evidence") or []
    lost = [name for name in labelled if session_key(name) not in shown]
    if lost:
        narrowed["evidence"] = [name for name in labelled if name not in lost]
        narrowed["evidence_lost"] = lost
    return cast(Record, narrowed)


def _first_day(text: str | None) -> datetime:
    day = read_date(text or "")
    return first_moment(day) if day else datetime.max


def _problem(narrowed: Record, labelled: bool) -> str:
    if not narrowed["sessions"]:
        return "no session fits into memory.budget_tokens"
    return "none of its gold sessions is among the candidates" if labelled and not narrowed["evidence"] else ""


def _without(before: Iterable[int], after: Collection[int], names: Sequence[str]) -> list[str]:
    kept = set(after)
    return [names[position] for position in sorted(before) if position not in kept]


def _filled(stages: Iterable[tuple[str, list[str]]]) -> dict[str, tuple[str, ...]]:
    return {stage: tuple(names) for stage, names in stages if names}


def _moment(bound: str, moment: Callable[..., datetime], where: str) -> datetime:
    fields = read_date(bound)
    if fields is None:
        raise DataError(
            f"{where} has the bound {bound!r:.80}, which cannot be read, so no session can be compared with it; write it as "
            "2024-03-05 or 2024-03-05T09:00:00, or null where it is unknown."
        )
    return moment(fields)


def _written(span: tuple[datetime, datetime]) -> tuple[str | None, str | None]:
    start, end = (None if bound == ever else bound.isoformat() for bound, ever in zip(span, _EVER, strict=True))
    return start, end


def _check(given: Mapping[str, Any], path: str) -> None:
    known = [option.name for option in fields(Candidates)]
    for key, value in given.items():
        where = f"{path}.{key}: is {value!r:.60}, but must be"
        if key not in known:
            raise ConfigError(f"{path}.{key}: no such key.{nearest(str(key), known)} Known keys: {', '.join(known)}.")
        if key in ("top_k", "budget_tokens") and value is not None and (type(value) is not int or value < 1):
            raise ConfigError(f"{where} a whole number of at least 1, or null for no limit.")
        if key == "time_range" and value not in TIME_RANGES:
            raise ConfigError(f"{where} one of {', '.join(TIME_RANGES)}.{nearest(str(value), TIME_RANGES)}")
        if key == "margin_days" and not (type(value) in (int, float) and math.isfinite(value) and value >= 0):
            raise ConfigError(f"{where} a number of days of at least 0.")
        if key == "keep_gold" and type(value) is not bool:
            raise ConfigError(f"{where} true or false.")
