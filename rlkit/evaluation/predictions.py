"""Completions that another framework wrote, matched by id to the questions of a suite.

Knows the columns under which frameworks write ids and completions; knows no metric.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rlkit.data.record import Record
from rlkit.errors import DataError, nearest
from rlkit.evaluation.scoring import Answered
from rlkit.generation.model import Reply

IDS = ("id", "_id", "question_id")
COMPLETIONS = ("completion", "prediction", "response", "output", "generated_text", "pred")
LISTED = 5
COLUMN_CHARS = 40  # of a column's name in a message
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """One line: a completion and, where the line names them, the suite, subset and context that it belongs to."""

    line: int
    reply: Reply
    place: Mapping[str, str]

    def belongs(self, **place: str) -> bool:
        return all(self.place.get(key, value) == value for key, value in place.items())


@dataclass
class Predictions:
    """A file's predictions by id. `used` collects the lines that answered a question."""

    path: Path
    by_id: Mapping[str, Sequence[Prediction]]
    used: set[int] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)

    @property
    def names_contexts(self) -> bool:
        """Whether every line says with which context it was asked."""
        return self._nameless is None

    def check_contexts(self, contexts: Sequence[str]) -> None:
        """Raise `DataError` where lines would count as answers of several contexts, because they name none."""
        if len(contexts) > 1 and self._nameless is not None:
            raise DataError(
                f"{self.path}:{self._nameless}: names no context, so it would count for each of {', '.join(contexts)}; name it in "
                f'each line, as "context": "{contexts[0]}", or score one context at a time with --context.'
            )

    @cached_property
    def _nameless(self) -> int | None:
        """The first line that names no context."""
        lines = (p.line for found in self.by_id.values() for p in found if "context" not in p.place)
        return min(lines, default=None)

    def answer(self, suite: str, subset: str, context: str, record: Record) -> Answered | None:
        """The question with its prediction; None, counted, where there is none. Raises `DataError` for two."""
        row_id = record["id"]
        found = [p for p in self.by_id.get(row_id, ()) if p.belongs(suite=suite, subset=subset, context=context)]
        if not found:
            self.missing.append(row_id)
            return None
        if len(found) > 1:
            lines = ", ".join(str(prediction.line) for prediction in found[:LISTED])
            raise DataError(
                f"{self.path}: {len(found)} predictions for id {row_id!r} (lines {lines}), so it is unclear which one counts; "
                "keep one, or name suite, subset and context in each line."
            )
        self.used.add(found[0].line)
        return Answered(suite, subset, context, record, found[0].reply)

    def pass_over(self, suite: str, subset: str, context: str, row_id: str) -> None:
        """Leave alone what was said of a row that asks nothing in this context."""
        place = {"suite": suite, "subset": subset, "context": context}
        self.used.update(p.line for p in self.by_id.get(row_id, ()) if p.belongs(**place))

    def check_missing(self, questions: int, allowed: bool) -> None:
        """Raise `DataError` for questions without a prediction, unless that is allowed; none at all never is."""
        if not self.missing or (allowed and len(self.missing) < questions):
            return
        example = next(iter(self.by_id), "")
        raise DataError(
            f"{self.path}: {len(self.missing):,} of {questions:,} questions have no prediction ({_few(self.missing)}); the file's "
            f"ids look like {example!r}. Add them, or leave these questions out of all figures with --allow-missing."
        )

    def check_extra(self, asked: Mapping[str, Sequence[str]], left_out: int = 0) -> None:
        """Raise `DataError` for predictions of no question; lines that name another suite or context are left alone.

        `asked` holds the contexts of each suite. `left_out` rows of the data ask nothing, by their reports, and their
        ids are not kept: as many predictions of no question are taken to be theirs.
        """
        extra = [
            row_id
            for row_id, predictions in self.by_id.items()
            for prediction in predictions
            if prediction.line not in self.used
            and any(
                prediction.belongs(suite=suite, context=context)
                for suite, contexts in asked.items()
                for context in contexts
            )
        ]
        if 0 < len(extra) <= left_out:
            _log.warning(
                "%s: %d predictions (%s) have no question; %d rows of the data were left out when it was read",
                *(self.path, len(extra), _few(extra), left_out),
            )
        elif extra:
            rows = (
                f" Of the data {left_out:,} rows were left out when it was read, fewer than that." if left_out else ""
            )
            raise DataError(
                f"{self.path}: {len(extra):,} predictions have an id that no question of {', '.join(asked)} has "
                f"({_few(extra)}).{rows} Remove these lines, name the suite that they belong to, or evaluate the first rows alone "
                "with --limit."
            )


def read_predictions(path: Path) -> Predictions:
    """The predictions of a JSONL file; raises `DataError` with file and line.

    A line has an id (`id`, `_id` or `question_id`) and a completion: text, a list of one text, or messages, under
    `completion`, `prediction`, `response`, `output`, `generated_text` or `pred`. An evaluation's own `examples.jsonl`
    is such a file.
    """
    if not path.is_file():
        close = nearest(path.name, [p.name for p in path.parent.glob("*.json*")] if path.parent.is_dir() else [])
        raise DataError(f"--predictions {path}: there is no such file.{close}")
    by_id: dict[str, list[Prediction]] = {}
    for number, row in _rows(path):
        where = f"{path}:{number}"
        name, row_id = _one_of(row, IDS, where)
        if isinstance(row_id, bool) or not isinstance(row_id, str | int):
            raise DataError(f"{where}: {name} is {row_id!r:.60}, but must be the id of a question.")
        name, said = _one_of(row, COMPLETIONS, where)
        place = {key: row[key] for key in ("suite", "subset", "context") if isinstance(row.get(key), str)}
        tokens = row.get("completion_tokens")  # told to readers alone: what is no count is left out
        reply = Reply(
            _text(said, f"{where}: {name}"),
            str(row.get("finish_reason") or ""),
            0,
            tokens if type(tokens) is int and tokens >= 0 else 0,
        )
        by_id.setdefault(str(row_id), []).append(Prediction(number, reply, place))
    if not by_id:
        raise DataError(f"{path}: is empty, so there is nothing to score.")
    return Predictions(path, by_id)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
            if not text:
                continue
            try:
                row = json.loads(text.decode("utf-8", "surrogatepass"))
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{path}:{number}: not a line of JSON ({error!s:.200}); each line must be one whole object."
                ) from error
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: holds {type(row).__name__}, but each line must be an object.")
            yield number, row


def _one_of(row: Mapping[str, Any], names: Sequence[str], where: str) -> tuple[str, Any]:
    given = [name for name in names if row.get(name) is not None]
    empty = [name for name in names if name in row]
    if not given and empty:
        raise DataError(
            f"{where}: {empty[0]} is null, so there is nothing to score; give its text, or leave the line out."
        )
    if not given:
        hint = next((near for key in row if (near := nearest(key[:COLUMN_CHARS], names))), "")
        columns = _few([key[:COLUMN_CHARS] for key in row]) or "none"
        raise DataError(f"{where}: has none of {', '.join(names)}; the columns here are {columns}.{hint}")
    return given[0], row[given[0]]


def _text(said: Any, where: str) -> str:
    if isinstance(said, list) and len(said) == 1 and isinstance(said[0], str):
        return said[0]
    if isinstance(said, list) and said and isinstance(said[-1], dict):  # messages: the last one answers
        said = said[-1].get("content")
    if not isinstance(said, str):
        raise DataError(f"{where}: is {said!r:.80}, but must be the text of one completion.")
    return said


def _few(ids: Sequence[str]) -> str:
    return ", ".join(ids[:LISTED]) + (", ..." if len(ids) > LISTED else "")
