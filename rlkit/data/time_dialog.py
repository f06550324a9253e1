"""Time-Dialog: questions about time over dialogues of many sessions, whose events are labelled with when they happened.

Reads the release (a file of questions, one of labelled contexts and, if there is one, one of annotated time ranges) and
files of released outputs, whose prompts hold the sessions. Knows no date that the files do not give: the time at which a
released prompt says that it was asked is the clock of the machine that ran it, so it is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from rewards.dates import is_before, read_date
from rlkit.data import files
from rlkit.data.layout import Layout, Report, Row, distinct
from rlkit.data.record import Record
from rlkit.errors import DataError, nearest

# The task decides how an answer is compared (Memory-T1, arXiv 2512.20092, "Tasks").
KINDS = {
    "Localization": "time",
    "Computation": "duration",
    "Timeline": "order",
    "Duration_Compare": "choice",
    "Order_Compare": "choice",
    "Extract": "choice",
    "Explicit_Reasoning": "choice",
    "Order_Reasoning": "choice",
    "Relative_Reasoning": "choice",
    "Counterfactual": "choice",
    "Co_temporality": "choice",
}
_QUESTIONS = ("Question ID", "Question", "Gold Answer", "Task", "Context", "Evidence")
_OUTPUTS = ("question_id", "question", "gold_answer", "task", "full_prompt", "bm25_prompt")
_UNKNOWN = ("", "unknown", "none", "null", "n/a")

_BEFORE_SESSIONS, _AFTER_SESSIONS = "***session memory:**", "**Expected Response:**"
_STAMP = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
_SESSION_LINE = re.compile(rf"({_STAMP}): <([^<>\n]{{1,40}})>, ")
_SPOKEN = re.compile(rf" ({_STAMP}) : ?")

Sessions = list[dict[str, Any]]


@dataclass
class Reader:
    """The records of one source; holds the contexts, which many questions share, while it is used.

    >>> said = {"speaker": "Ann", "utterance": "Back from Rome!", "utterance_date": "2020-03-05T09:00:00",
    ...         "events": [{"event_summary": "Ann was in Rome", "event_time": ["2020-03-01", "unknown"]}]}
    >>> reader = Reader()
    >>> reader.contexts = {"c1": sessions_of({"3": {"session_date": "2020-03-05T09:00:00", "content": [said]}}, "c1", Report())}
    >>> row = {"Question ID": "q1", "Question": "Where? A. Rome", "Gold Answer": "A", "Task": "Extract", "Level": "Level 1",
    ...        "Context": "c1", "Evidence": [{"session_id": 3}]}
    >>> record = next(reader(row, Report(), "file:1"))
    >>> record["kind"], record["evidence"], record["sessions"][0]["utterances"][0]["events"]
    ('choice', ['session_3'], [{'summary': 'Ann was in Rome', 'start': '2020-03-01', 'end': None}])
    """

    paths: Mapping[str, Path] = field(default_factory=dict)
    contexts: dict[str, Sessions] | None = None

    def __call__(self, row: Row, report: Report, where: str) -> Iterator[Record]:
        """The record of a question of the release, or of a line of released outputs."""
        if "full_prompt" in row:
            yield from self._of_outputs(row, report, where)
        else:
            yield from self._of_question(row, report, where)

    def _of_question(self, row: Row, report: Report, where: str) -> Iterator[Record]:
        row_id = str(row["Question ID"])
        if self.contexts is None:
            self.contexts = self._contexts(report, where)
        sessions = self.contexts.get(str(row["Context"]))
        if sessions is None:
            return report.drop("its context is not in the contexts file", row_id)
        evidence = _evidence(row["Evidence"], {session["id"] for session in sessions}, report, row_id)
        own = {"memory": str(row["Context"])}
        yield from self._record({**row, "sessions": sessions, "evidence": evidence, "own": own}, report, where)

    def _of_outputs(self, row: Row, report: Report, where: str) -> Iterator[Record]:
        if "contexts" in self.paths:
            raise DataError(f"{where}: this row has its sessions in its prompts; take `contexts` out of the source.")
        found: dict[str, dict[str, Any]] = {}
        for key in ("bm25_prompt", "full_prompt"):
            listed = in_prompt(row[key])
            shown = {session["id"]: session for session in listed}
            if len(shown) < len(listed):
                report.note("a prompt shows a session twice, kept once", str(row["question_id"]))
            found.update(shown)
        sessions = sorted(found.values(), key=lambda session: (session["date"], _number(session["id"])))
        own = {key: row.get(key) for key in ("full_prompt_output", "bm25_output")}
        named = {name: row.get(name.lower().replace(" ", "_")) for name in (*_QUESTIONS, "Level")}
        given = {"sessions": sessions, "evidence": [], "own": own, "range": row.get("question_time_range")}
        yield from self._record({**named, **given}, report, where)

    def _record(self, row: Row, report: Report, where: str) -> Iterator[Record]:
        row_id, task, answer = str(row["Question ID"]), row["Task"], row["Gold Answer"]
        if task not in KINDS:
            raise DataError(
                f"{where}: task {task!r} is unknown, so it is unknown how to compare its answer; there are "
                f"{', '.join(KINDS)}.{nearest(str(task), KINDS)}"
            )
        golds = distinct(_list(answer))
        if not golds or not row["sessions"]:
            return report.drop("no answer" if row["sessions"] else "no sessions", row_id)
        record = Record(
            id=row_id,
            task="memory_t1",
            kind=KINDS[task],
            question=row["Question"].strip(),
            context=[],
            golds=golds,
            evidence=row["evidence"],
            source="time_dialog",
            sessions=row["sessions"],
        )
        annotated = self._ranges.get(row_id, row.get("range"))
        if annotated is not None:
            record["time_range"] = _time_range(annotated, report, row_id)
        elif "ranges" in self.paths:
            report.note("no time range is annotated", row_id)
        own = {"subtask": task, "level": row.get("Level"), **row["own"]}
        yield cast(Record, {**record, **{key: value for key, value in own.items() if value is not None}})

    @cached_property
    def _ranges(self) -> dict[str, Any]:
        path = self.paths.get("ranges")
        if path is None:
            return {}
        ranges = {}
        for row_id, entry in files.json_pairs(path, ""):
            if not isinstance(entry, Mapping) or "question_time_range" not in entry:
                raise DataError(
                    f"{path}: question {row_id!r} has no question_time_range, so this is no file of annotated time ranges; "
                    "it holds {question id: {question_time_range: {start, end}}}."
                )
            ranges[row_id] = entry["question_time_range"]
        return _not_empty(ranges, path, "{question id: {question_time_range: {start, end}}}")

    def _contexts(self, report: Report, where: str) -> dict[str, Sessions]:
        path = self.paths.get("contexts")
        if path is None:
            raise DataError(
                f"{where}: this question names a context, but the source names no file of contexts; add "
                "`contexts: FILE` to the source, the release's file of labelled contexts."
            )
        contexts = {}
        for key, value in files.json_pairs(path, ""):
            try:
                contexts[key] = sessions_of(value, key, report)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(
                    f"{path}: context {key!r} has another shape ({type(error).__name__}: {error}); it maps session ids to "
                    "{session_date, content: [{speaker, utterance, utterance_date, events}]}."
                ) from error
        return _not_empty(contexts, path, "{context: {session id: {session_date, content: [...]}}}")


def _not_empty(entries: dict[str, Any], path: Path, shape: str) -> dict[str, Any]:
    if not entries:
        raise DataError(f"{path}: nothing of the shape {shape} is in this file; give the right one.")
    return entries


def sessions_of(context: Mapping[str, Any], key: str, report: Report) -> Sessions:
    """The sessions of one labelled context, in the order of the file; what cannot be read is counted once a context."""
    sessions = []
    for session_id, session in context.items():
        name = _session_id(session_id)
        at = f"{key}/{name}"
        said = [
            {
                "speaker": str(item.get("speaker") or ""),
                "text": item["utterance"],
                "time": _date(item.get("utterance_date"), "utterance: a date that cannot be read", report, at),
                "events": _events(item.get("events"), report, at),
            }
            for item in session["content"]
        ]
        date = _date(session.get("session_date"), "session: a date that cannot be read", report, at)
        sessions.append({"id": name, "date": date, "utterances": said})
    return sessions


def in_prompt(prompt: str) -> Sessions:
    r"""The sessions that stand in a released prompt; none where its budget was used up before the first.

    A session begins with `date: <number>, `, an utterance reads `speaker date : text`; other lines continue an utterance.

    >>> spoken = "2020-05-21T11:40:00: <10>, Ann 2020-05-21T11:40:00 : Hi!\nHow are you?"
    >>> session, = in_prompt(f"***session memory:** \n{spoken}\n\n**Expected Response:**")
    >>> session["id"], session["date"], [(said["speaker"], said["text"]) for said in session["utterances"]]
    ('session_10', '2020-05-21T11:40:00', [('Ann', 'Hi!\nHow are you?')])
    """
    _, before, rest = prompt.partition(_BEFORE_SESSIONS)
    body, after, _ = rest.rpartition(_AFTER_SESSIONS)
    if not before or not after:
        raise ValueError(f"a prompt without {_BEFORE_SESSIONS!r} and {_AFTER_SESSIONS!r} is none of the release")
    sessions: Sessions = []
    for line in body.strip().split("\n"):
        if head := _SESSION_LINE.match(line):
            sessions.append({"id": _session_id(head.group(2)), "date": head.group(1), "utterances": []})
            line = line[head.end() :]
        if not sessions:
            if line.strip():
                raise ValueError(f"a session begins with `date: <number>, `, but there is {line!r:.60}")
            continue
        utterances = sessions[-1]["utterances"]
        if spoken := _SPOKEN.search(line):
            utterance = {"speaker": line[: spoken.start()].strip(), "text": line[spoken.end() :].strip()}
            utterances.append({**utterance, "time": spoken.group(1), "events": []})
        elif utterances:
            utterances[-1]["text"] += f"\n{line}"
        else:
            utterances.append({"speaker": "", "text": line, "time": None, "events": []})
    return sessions


def _evidence(value: Any, there: set[str], report: Report, row_id: str) -> list[str]:
    names = []
    for item in _list(value):
        session_id = item.get("session_id") if isinstance(item, Mapping) else item
        name = _session_id(session_id) if session_id is not None else ""
        if not name:
            report.note("evidence: names no session", row_id)
        elif name not in there:
            report.note("evidence: no such session, left out", row_id)
        else:
            names.append(name)
    if not names:
        report.note("evidence: none is labelled", row_id)
    return distinct(names)


def _events(value: Any, report: Report, at: str) -> list[dict[str, Any]]:
    """The events of an utterance; one may stand alone or in a list of its own, a point in time may be one date."""
    events = []
    for item in _flat(value):
        if not isinstance(item, Mapping):
            report.note("event: not an object, left out", at)
            continue
        times = _list(item.get("event_time"))
        if len(times) > 2:
            report.note("event: more than two bounds, first and last are taken", at)
        bounds = [_date(time, "event: a date that cannot be read", report, at) for time in (times[:1] + times[-1:])]
        start, end = bounds or (None, None)
        events.append({"summary": str(item.get("event_summary") or ""), "start": start, "end": end})
    return events


def _time_range(value: Any, report: Report, row_id: str) -> list[str | None]:
    start, end = (value["start"], value["end"]) if isinstance(value, Mapping) else value
    lowest, highest = (_date(bound, "time range: a date that cannot be read", report, row_id) for bound in (start, end))
    first, last = read_date(lowest or ""), read_date(highest or "")
    if first and last and is_before(last, first):
        report.note("time range: ends before it starts, bounds exchanged", row_id)
        return [highest, lowest]
    return [lowest, highest]


def _date(value: Any, oddity: str, report: Report, at: str) -> str | None:
    """A date as the file writes it; None where it is unknown and, counted, where it cannot be read."""
    text = "" if value is None else str(value).strip()
    if text.lower() in _UNKNOWN:
        return None
    if read_date(text) is None:
        report.note(oddity, at)
        return None
    return text


def _session_id(value: Any) -> str:
    """`session_3` for 3, "3", "<3>" and "session_3"."""
    text = str(value).strip().strip("<>").strip()
    return f"session_{text}" if text.isdigit() else text


def _number(session_id: str) -> int:
    digits = session_id.removeprefix("session_")
    return int(digits) if digits.isdigit() else 0


def _list(value: Any) -> list[Any]:
    """What stands alone as a list of one; null as an empty one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _flat(value: Any) -> Iterator[Any]:
    for item in _list(value):
        yield from _list(item)


LAYOUT = Layout("time_dialog", (_QUESTIONS, _OUTPUTS), Reader(), files=("contexts", "ranges"), with_files=Reader)
