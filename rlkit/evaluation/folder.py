"""The folder of an evaluation: what it leaves behind, and the rules under which the folder may be used again.

    evaluation.json    the model and its settings in words, written first
    answers/           one journal a process; answers by question and model, so that nothing is asked twice
    examples.jsonl     one line an answer: figures of every metric, completion, record
    results.json       figures with intervals, and the suites as they were asked
    table.md           the same beside the published ones

A folder holds the evaluations of one model, and collects its suites. Knows no metric and no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from rlkit.errors import DataError, RunError, nearest
from rlkit.generation.endpoint import UNANSWERED
from rlkit.generation.model import Reply
from rlkit.journal import Journal
from rlkit.plain import flat, plain
from rlkit.runs import write_json


class Answers:
    """The answers that all processes have kept so far; this process adds its own to a journal of its own.

    Processes of one launch share a folder, and the next launch may have more or fewer of them. What an endpoint refused or
    failed to answer is kept, but no answer: the next launch asks it again.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        own = folder / f"process-{rank}.jsonl"
        self._own = Journal(own)
        others = [Journal(path) for path in sorted(folder.glob("process-*.jsonl")) if path != own]
        self._journals = [self._own, *others]
        for journal in self._journals:
            _ = "" in journal  # read it now, while no other process writes

    def __contains__(self, key: str) -> bool:
        reply = self.get(key)
        return reply is not None and reply.finish_reason not in UNANSWERED

    def get(self, key: str) -> Reply | None:
        kept = [Reply(**value) for journal in self._journals if (value := journal.get(key)) is not None]
        return min(kept, key=lambda reply: reply.finish_reason in UNANSWERED, default=None)

    def put(self, key: str, reply: Reply) -> None:
        self._own.put(key, {f.name: getattr(reply, f.name) for f in fields(Reply)})  # no more than is read back


def claim(folder: Path, model: Mapping[str, Any], settings: Any) -> None:
    """Make the folder that of this model's evaluation; raises `RunError` where it is another's or no evaluation's.

    `model` is what must be the same; `settings`, a mapping or a dataclass, says in words what was asked, so that a reader
    sees what changed.
    """
    note = folder / "evaluation.json"
    told = json.loads(json.dumps(plain(settings), default=str))  # as they are read back
    if note.is_file():
        before = _read_json(note)
        changed = [f"{key}: {before.get(key)!r} -> {model[key]!r}" for key in model if before.get(key) != model[key]]
        if changed:
            then, now = flat(before.get("settings") or {}), flat(told)
            changed += [
                f"settings.{key}: {then.get(key)!r} -> {now.get(key)!r}"
                for key in dict.fromkeys([*then, *now])
                if then and then.get(key) != now.get(key)
            ]
            if then == now:
                changed.append("settings are the same, so the files of the model or of the predictions have changed")
            lines = "\n  ".join(changed)
            raise RunError(
                f"{folder}: holds the evaluation of another model and is not overwritten. What differs:\n  {lines}\n"
                "Choose another --out."
            )
        return
    if folder.is_dir() and any(not item.name.startswith(".") for item in folder.iterdir()):
        raise RunError(f"{folder}: holds files but no evaluation.json, so it is no evaluation's and stays untouched; choose another --out.")  # fmt: skip
    write_json(note, {**model, "settings": told})


def read_examples(folder: Path) -> Iterator[dict[str, Any]]:
    """The scored examples of an evaluation; raises `DataError` with file and line."""
    path = folder / "examples.jsonl"
    if not path.is_file():
        near = nearest(folder.name, [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else [])
        raise DataError(f"{folder}: is no finished evaluation, because there is no examples.jsonl in it.{near}")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DataError(
                    f"{path}:{number}: not a line of JSON ({error}); evaluate again to write it anew."
                ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}); choose another --out.") from error
    return value if isinstance(value, dict) else {}
