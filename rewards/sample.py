"""What a reward sees: one row and one completion, every field apart from the others.

The question is never evidence and the prompt is never context, so a reward cannot mix them up by accident.
Knows no trainer, no tokenizer and no file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rewards.errors import RowError

if TYPE_CHECKING:
    from rewards.parse_care import CareOutput
    from rewards.parse_memory import MemoryOutput

# Chat markup such as <|im_end|> or <｜end▁of▁sentence｜>; bounded, so that hostile text cannot make it backtrack.
_CHAT_TOKEN = re.compile(r"<\|\w{1,40}\|>|<｜[\w▁]{1,40}｜>")
_BARE_TOKENS = ("</s>", "<s>", "<eos>", "<bos>", "<pad>", "[PAD]", "<end_of_turn>", "<start_of_turn>")
_HEAD = re.compile("(?:\\s+|" + "|".join(map(re.escape, _BARE_TOKENS)) + ")*")
# Matched against the reversed text: a pattern anchored at the end would try every position and be quadratic.
_TAIL = re.compile("(?:\\s+|" + "|".join(re.escape(token[::-1]) for token in _BARE_TOKENS) + ")*")


def strip_chat_tokens(text: str) -> str:
    """The text without chat special tokens and without white space around it.

    Markup of the form `<|name|>` goes wherever it stands; bare tokens such as `</s>` go from both ends only, because
    inside a text they may be content.

    >>> strip_chat_tokens("Answer: Lisbon<|im_end|></s><pad>")
    'Answer: Lisbon'
    """
    text = _CHAT_TOKEN.sub("", text) if "<|" in text or "<｜" in text else text
    text = text[_HEAD.match(text).end() :]  # type: ignore[union-attr]  # the pattern matches the empty text too
    return text[: len(text) - _TAIL.match(text[::-1]).end()]  # type: ignore[union-attr]


@dataclass(frozen=True)
class Passage:
    """One piece of the input that may be quoted; the title is shown to the model but is not quotable."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class Event:
    """Something that an utterance tells of: ISO dates or times, `None` = unknown bound."""

    summary: str
    start: str | None = None
    end: str | None = None


@dataclass(frozen=True)
class Utterance:
    speaker: str
    text: str
    time: str | None = None
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Session:
    """One dated dialogue session of a memory."""

    id: str
    date: str | None = None
    utterances: tuple[Utterance, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One row with one completion.

    `golds` are all accepted answers: a string, a number or a list of them. `evidence` holds verbatim supporting
    sentences (CARE) or session ids (Memory-T1). `time_range` is `(start, end)` as ISO text, `None` = open bound.
    `columns` holds every further column of the row for custom rewards. Chat special tokens are stripped from the
    completion when the sample is made.

    >>> sample = Sample(question="Capital?", golds="Lisbon", completion="Answer: Lisbon<|im_end|>")
    >>> sample.golds, sample.completion
    (('Lisbon',), 'Answer: Lisbon')
    """

    completion: str = ""
    id: str = ""
    task: str = ""
    kind: str = ""
    source: str = ""
    prompt: Any = ""
    question: str = ""
    context: Sequence[Passage] = ()
    golds: Sequence[str] = ()
    evidence: Sequence[str] = ()
    sessions: Sequence[Session] = ()
    time_range: tuple[str | None, str | None] | None = None
    asked_at: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict, repr=False)

    if TYPE_CHECKING:  # what may be given is wider than what the fields hold afterwards

        def __init__(
            self,
            *,
            completion: str = "",
            id: str = "",
            task: str = "",
            kind: str = "",
            source: str = "",
            prompt: Any = "",
            question: str = "",
            context: str | Sequence[str | Passage | Mapping[str, Any]] | None = (),
            golds: str | float | Sequence[str | float | Sequence[str | float]] | None = (),
            evidence: str | Sequence[str] | None = (),
            sessions: Sequence[Session | Mapping[str, Any]] | None = (),
            time_range: Sequence[str | None] | None = None,
            asked_at: str | None = None,
            columns: Mapping[str, Any] = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in ("id", "task", "kind", "source", "question"):
            value = getattr(self, name)
            _set(self, name, "" if value is None else str(value))
        if not isinstance(self.completion, str):
            raise RowError(
                f"row {self.id or '?'}: completion is {type(self.completion).__name__}, but must be text; "
                "pass the decoded text of one completion."
            )
        _set(self, "completion", strip_chat_tokens(self.completion))
        _set(self, "golds", _texts(self.golds, "golds", self.id))
        _set(self, "evidence", _texts(self.evidence, "evidence", self.id))
        _set(self, "context", _passages(self.context, self.id))
        _set(self, "sessions", _sessions(self.sessions, self.id))
        _set(self, "time_range", _time_range(self.time_range, self.id))
        _set(self, "asked_at", _iso(self.asked_at, "asked_at", self.id))

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, completion: str | None = None, prompt: Any = "") -> Sample:
        """A sample from a row in the record layout; unknown keys land in `columns`.

        >>> Sample.from_record({"id": "q1", "golds": [7], "level": "hard"}, completion="Answer: 7").columns
        {'level': 'hard'}
        """
        known = {key: record[key] for key in _FIELDS if record.get(key) is not None}
        known["completion"] = known.get("completion", "") if completion is None else completion
        if prompt:
            known["prompt"] = prompt
        rest = {key: value for key, value in record.items() if key not in _FIELDS}
        return cls(**known, columns=rest)

    def __getstate__(self) -> dict[str, Any]:
        # What this process has parsed is not copied: another one is to find it by its own code.
        return {name: self.__dict__[name] for name in (*_FIELDS, "columns")}

    def with_completion(self, completion: str) -> Sample:
        """The same row with another completion."""
        return replace(self, completion=completion)

    @cached_property
    def care(self) -> CareOutput:
        """The completion parsed as CARE output, once for all parts."""
        from rewards.parse_care import parse_care

        return parse_care(self.completion)

    @cached_property
    def memory(self) -> MemoryOutput:
        """The completion parsed as Memory-T1 output, once for all parts."""
        from rewards.parse_memory import parse_memory

        return parse_memory(self.completion)


_FIELDS = frozenset(f.name for f in fields(Sample)) - {"columns"}


def _set(sample: Sample, name: str, value: Any) -> None:
    object.__setattr__(sample, name, value)  # the class is frozen for everyone else


def _texts(value: Any, name: str, row: str) -> tuple[str, ...]:
    """Texts from what data sets hold: one value, a list, numbers, lists of aliases; blanks and NaN are no text."""
    if value is None:
        return ()
    texts: list[str] = []
    for item in value if isinstance(value, list | tuple) else (value,):
        for alias in item if isinstance(item, list | tuple) else (item,):
            if isinstance(alias, float) and alias.is_integer():
                texts.append(str(int(alias)))  # a column of integers with a gap comes back from Arrow as floats
            elif isinstance(alias, str | int | float):
                texts.append(str(alias) if alias == alias else "")
            else:
                raise RowError(
                    f"row {row or '?'}: {name} holds {type(alias).__name__} ({alias!r:.80}), but only text, numbers and "
                    "lists of them can be compared; convert it before scoring."
                )
    return tuple(text for text in texts if text.strip())


def _items(value: Any, name: str, row: str) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise RowError(
            f"row {row or '?'}: {name} is {type(value).__name__} ({value!r:.80}), but must be a list; reshape the row."
        )
    return value


def _passages(value: Any, row: str) -> tuple[Passage, ...]:
    passages = []
    for item in _items([value] if isinstance(value, str) else value, "context", row):
        if isinstance(item, Passage):
            passages.append(item)
        elif isinstance(item, str):
            passages.append(Passage(item))
        elif isinstance(item, Mapping) and isinstance(item.get("text"), str):
            passages.append(Passage(item["text"], item.get("title") or ""))
        else:
            raise RowError(
                f"row {row or '?'}: context holds {item!r:.80}, but a passage is text or "
                '{"title": ..., "text": ...}; reshape the row.'
            )
    return tuple(passages)


def _sessions(value: Any, row: str) -> tuple[Session, ...]:
    sessions = []
    for item in _items(value, "sessions", row):
        if isinstance(item, Session):
            sessions.append(item)
            continue
        if not isinstance(item, Mapping) or item.get("id") is None:
            raise RowError(
                f"row {row or '?'}: a session is {item!r:.80}, but must be an object with an 'id'; see the record layout."
            )
        utterances = _items(item.get("utterances"), "utterances", row)
        sessions.append(
            Session(
                str(item["id"]),
                _iso(item.get("date"), "date", row),
                tuple(_utterance(utterance, row) for utterance in utterances),
            )
        )
    return tuple(sessions)


def _utterance(item: Any, row: str) -> Utterance:
    if isinstance(item, Utterance):
        return item
    if not isinstance(item, Mapping):
        raise RowError(f"row {row or '?'}: an utterance is {item!r:.80}, but must be an object; see the record layout.")
    events = tuple(_event(event, row) for event in _items(item.get("events"), "events", row))
    return Utterance(item.get("speaker") or "", item.get("text") or "", _iso(item.get("time"), "time", row), events)


def _event(item: Any, row: str) -> Event:
    if isinstance(item, Event):
        return item
    if not isinstance(item, Mapping):
        raise RowError(
            f"row {row or '?'}: an event is {item!r:.80}, but must be an object with summary, start and end; "
            "see the record layout."
        )
    return Event(item.get("summary") or "", _iso(item.get("start"), "start", row), _iso(item.get("end"), "end", row))


def _time_range(value: Any, row: str) -> tuple[str | None, str | None] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise RowError(
            f"row {row or '?'}: time_range is {value!r:.80}, but must be [start, end] with null for an unknown bound."
        )
    return _iso(value[0], "time_range", row), _iso(value[1], "time_range", row)


def _iso(value: Any, name: str, row: str) -> str | None:
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, str):
        return value
    raise RowError(
        f"row {row or '?'}: {name} is {value!r:.80}, but must be ISO text such as '2024-05-01' or null; convert it."
    )
