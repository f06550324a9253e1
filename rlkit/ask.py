"""`rlkit ask`: one question to one memory, with everything that led to the answer.

The sessions are chosen as in training: by the `memory:` section that is saved with a run, without any label. Knows no
reward and no gold.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rewards.parse_memory import MemoryOutput, parse_memory
from rlkit.data.jsonl import normalise
from rlkit.data.layout import Report
from rlkit.data.record import Record
from rlkit.errors import DataError, nearest
from rlkit.generation.folder import find_model
from rlkit.generation.local import Local
from rlkit.memory.candidates import TIME_RANGES, Candidates, Told
from rlkit.memory.prompt import written_date
from rlkit.prompts import chat_prompt

Write = Callable[[list[dict[str, str]]], str]


@dataclass(frozen=True)
class Asked:
    """A question's way to its answer: the whole memory, the record as it was shown, the search, the model's output."""

    memory: Record
    shown: Record
    told: Told
    output: MemoryOutput
    completion: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--memory", type=Path, required=True, help="JSON or JSON lines: sessions, a record with sessions, or a LoCoMo conversation")  # fmt: skip
    parser.add_argument("--question", required=True)
    parser.add_argument("--model", type=Path, required=True, help="a run folder or a model folder")
    parser.add_argument("--asked-at", help="when the question is asked, e.g. 2024-05-01; what 'last week' refers to")
    parser.add_argument("--id", help="which memory, where the file holds several")
    parser.add_argument("--top-k", type=int, help="sessions that BM25 leaves")
    parser.add_argument("--budget-tokens", type=int, help="tokens that the sessions may take")
    parser.add_argument("--time-range", choices=[name for name in TIME_RANGES if name != "annotated"])
    parser.add_argument("--margin-days", type=float, help="days by which the time range is widened on both sides")
    parser.add_argument("--max-new-tokens", type=int, default=512, help="length of the answer (default 512)")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")


def main(args: argparse.Namespace) -> int:
    record = read_memory(args.memory, args.question, args.asked_at, args.id)
    folder, saved = find_model(args.model)
    given = {name: getattr(args, name) for name in ("top_k", "budget_tokens", "time_range", "margin_days")}
    options = inference_options(saved, {name: value for name, value in given.items() if value is not None})
    system = (saved.get("prompt") or {}).get("system", "default")
    count_tokens, write = load_model(folder, args.max_new_tokens)
    asked = ask(record, options, count_tokens, write, system)
    print(_json(asked) if args.json else "\n".join(_lines(asked, options)))
    return 0 if asked.output.ok else 1


def ask(
    record: Record,
    options: Candidates,
    count_tokens: Callable[[str], int],
    write: Write,
    system: str | None = "default",
) -> Asked:
    """Choose the sessions, let `write` answer the prompt, read its output; raises `DataError` where no session fits."""
    shown, told = options.apply(record, count_tokens)
    if told.problem:
        raise DataError(f"{told.problem} = {options.budget_tokens}, so there is nothing to answer from; raise it.")
    completion = write(chat_prompt(shown, system))
    return Asked(record, shown, told, parse_memory(completion), completion)


def inference_options(saved: Mapping[str, Any], changes: Mapping[str, Any]) -> Candidates:
    """The options of a saved run without its use of labels, which a question of today does not have."""
    options = Candidates.from_config(saved.get("memory"))
    time_range = "rules" if options.time_range == "annotated" else options.time_range
    return replace(options, **{"time_range": time_range, "keep_gold": False, **changes})


def read_memory(path: Path, question: str, asked_at: str | None = None, name: str | None = None) -> Record:
    """The question as a record with the sessions of the memory in a file.

    The file holds one JSON value or one a line: sessions, records with `sessions`, or LoCoMo conversations. Rows that
    share their sessions are one memory; of several, `name` picks one. Raises `DataError` with the file.
    """
    memories = dict(_memories(path, question))
    if not memories:
        raise DataError(f"{path}: holds no sessions, so there is nothing to answer from.")
    if name is None and len({json.dumps(sessions, sort_keys=True) for sessions in memories.values()}) > 1:
        raise DataError(f"{path}: holds {len(memories)} memories; choose one with --id: {', '.join([*memories][:10])}.")
    if name is not None and name not in memories:
        raise DataError(f"{path}: holds no memory {name!r}.{nearest(name, memories)} There are: {', '.join([*memories][:10])}.")  # fmt: skip
    sessions = memories[name] if name is not None else next(iter(memories.values()))
    row = {"task": "memory_t1", "question": question, "golds": ["?"], "sessions": sessions, "asked_at": asked_at}
    record = normalise(row, str(path))
    del record["golds"]  # there is none; the layout asks for one
    return record


def _memories(path: Path, question: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    loose: list[dict[str, Any]] = []
    for where, row in _rows(path):
        if not isinstance(row, dict) or not row.keys() & {"sessions", "conversation", "utterances"}:
            has = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
            raise DataError(
                f"{where}: a session with utterances, a record with sessions or a LoCoMo conversation is expected, not {has:.100}."
            )
        if "utterances" in row:
            loose.append(row)
            continue
        name = next((str(row[key]) for key in ("memory", "sample_id", "id") if row.get(key) is not None), where)
        yield name, _locomo(row, question, where) if "conversation" in row else row["sessions"]
    if loose:
        yield path.stem, loose


def _locomo(row: dict[str, Any], question: str, where: str) -> list[dict[str, Any]]:
    from rlkit.data import locomo

    asked = {"question": question, "answer": "?", "category": 4}
    records = locomo.records({"sample_id": where, **row, "qa": [asked]}, Report(), where)
    return next((record["sessions"] for record in records), [])


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    if not path.is_file():
        close = nearest(path.name, [p.name for p in path.parent.glob("*.json*")] if path.parent.is_dir() else [])
        raise DataError(f"{path}: there is no such file.{close}")
    text = path.read_text(encoding="utf-8-sig")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    yield f"{path}:{number}", json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{path}:{number}: is neither JSON nor JSON lines: {error.msg}.") from error
        return
    for number, row in enumerate(value if isinstance(value, list) else [value], 1):
        yield f"{path}: item {number}", row


def load_model(folder: Path, max_new_tokens: int) -> tuple[Callable[[str], int], Write]:
    """What counts tokens, and what writes the greedy completion of a prompt; raises `RlkitError` over the window."""
    model = Local(str(folder), sampling={"max_new_tokens": max_new_tokens})

    def count_tokens(text: str) -> int:
        return len(model.tokenizer(text, add_special_tokens=False)["input_ids"])

    return count_tokens, lambda messages: next(model.complete([messages])).text.strip()


def _lines(asked: Asked, options: Candidates) -> Iterator[str]:
    told, sessions = asked.told, asked.memory["sessions"]
    when = asked.memory.get("asked_at")
    yield f"memory: {len(sessions)} sessions; asked at {written_date(when) if when else '(not given)'}"
    yield _range_line(told, options, len(sessions))
    dates = {session["id"]: session.get("date") for session in sessions}
    shown = {session["id"] for session in asked.shown["sessions"]}
    limit = "" if options.budget_tokens is None else f" of {options.budget_tokens:,}"
    yield f"candidates: {len(shown)} of them, {told.tokens:,}{limit} tokens"
    width = max(map(len, dates), default=0)
    for place, (name, score) in enumerate(told.ranked, 1):
        if name in shown:
            yield f"  BM25 rank {place:>3}  score {score:7.2f}  {name:<{width}}  {_date(dates.get(name))}"
    for stage, names in told.lost.items():
        yield f"  left out by {stage}: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
    if not asked.output.ok:
        yield f"the output cannot be read: {asked.output.problem}"
        yield asked.completion
        return
    chosen = [f"{name} ({_date(dates[name]) if name in shown else 'was not shown'})" for name in asked.output.selected]
    yield f"selected: {', '.join(chosen) or 'none'}"
    yield f"answer: {asked.output.answer_text}"


def _range_line(told: Told, options: Candidates, sessions: int) -> str:
    if told.time_range is None:
        return "time range: not used" if options.time_range == "none" else "time range: the question names none"
    start, end = ((bound or "open")[:16].replace("T", " ") for bound in told.time_range)
    held = "no session lies in it, so all are ranked" if told.range_held_none else f"{len(told.ranked)} of {sessions} sessions overlap it"  # fmt: skip
    return f"time range: {start} to {end} ({options.time_range}, widened by {options.margin_days:g} days); {held}"


def _date(date: str | None) -> str:
    return written_date(date) if date else "no date"


def _json(asked: Asked) -> str:
    shown = [session["id"] for session in asked.shown["sessions"]]
    output = {**asdict(asked.output), "completion": asked.completion}
    return json.dumps({"candidates": shown, **asdict(asked.told), **output}, ensure_ascii=False, indent=2)
