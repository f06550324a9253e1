"""The whole run: ask what is not known yet, both models at once, then write rows, rejects, report and preview.

The folder of a run:

    config.yaml       the settings
    journal.jsonl     every answer, written the moment it came: the only state of a run
    rows.jsonl        the SFT rows, in the order of the sources
    rejected.jsonl    one line a rejected record: stage, reason, what the model said
    report.json, report.md, preview.md

Knows the order of things; refuses to know what makes a row good (`steps`) and how a model is reached.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict
from glob import glob
from pathlib import Path
from typing import IO, Any, NamedTuple

import yaml

from rlkit.data.load import Loaded, load_source
from rlkit.data.record import Record, to_json_line, to_record
from rlkit.distill.report import Yield, preview
from rlkit.distill.settings import Settings
from rlkit.distill.steps import INJECTOR, REASONER, Ask, Rejected, Steps, row_of
from rlkit.errors import ConfigError, DataError, RunError
from rlkit.folder_lock import held
from rlkit.generation.endpoint import FAILED, REFUSED, Endpoint
from rlkit.generation.model import Conversation, Model, Reply
from rlkit.journal import Journal
from rlkit.runs import write_json, write_text
from rlkit.streams import appears_when_done

JOURNAL = "journal.jsonl"
FILES = ("config.yaml", "rows.jsonl", "rejected.jsonl", "report.json", "report.md", "preview.md")
Progress = Callable[[str, int], None]


def distill(
    settings: Settings,
    reasoner: Model | None = None,
    injector: Model | None = None,
    progress: Progress = lambda stage, answers: None,
) -> Yield:
    """Make the SFT data that the settings describe; returns the report, which also lies in the output folder.

    The same call again asks nothing that was answered, except what the endpoint refused or failed to answer. Given
    models take the place of those in the settings. `progress` is told a stage's name and how many answers it has got.
    Raises what loading and the models raise, and `RunError` where another process works in the folder; every answer
    that came before that is kept.
    """
    models = {
        REASONER: reasoner or settings.reasoner.open("reasoner"),
        INJECTOR: injector or settings.injector.open("injector"),
    }
    for stage, model in models.items():  # all of it before anything is loaded or paid for
        if isinstance(model, Endpoint):
            try:
                model.check()
            except ConfigError as error:
                raise ConfigError(f"{stage}: {error}") from error
    _refuse_own_rows(settings)
    loaded = {name: load_source(source, f"sources.{name}") for name, source in settings.sources.items()}
    for name, source in loaded.items():
        if other := set(source.rows.unique("task")) - {"care"}:
            raise DataError(f"sources.{name}: holds rows of task {', '.join(other)}, but rows of CARE are made here.")
    folder = Path(settings.output_dir)
    with held(folder, "output_dir"):
        _claim(folder)
        text = yaml.safe_dump(settings.to_dict(), sort_keys=False, allow_unicode=True)
        write_text(folder / "config.yaml", text)
        answers = _Answers(Journal(folder / JOURNAL), progress)
        steps = Steps(settings, {stage: model.identity for stage, model in models.items()})
        early = _ask_all(steps, loaded, models, answers)
        return _write(folder, steps, loaded, answers, early)


def _refuse_own_rows(settings: Settings) -> None:
    """A source inside the output folder would be overwritten by the rows that are made of it."""
    folder = Path(settings.output_dir).resolve()
    for name, source in settings.sources.items():
        path = source.get("path")
        found = [path, *glob(path, recursive=True)] if isinstance(path, str) else []
        for own in found:
            if folder in (file := Path(own).expanduser().resolve()).parents or file == folder:
                raise ConfigError(
                    f"sources.{name}.path: {own} lies in output_dir {settings.output_dir}, whose files this run overwrites; "
                    "choose another output_dir."
                )


class Place(NamedTuple):
    """A record: its source and its number there."""

    source: str
    number: int


class _Answers:
    """Answers by key: the journal's, and beside it what an endpoint said in place of one in this run."""

    def __init__(self, journal: Journal, progress: Progress) -> None:
        self.journal = journal
        self.unanswered: dict[str, Mapping[str, Any]] = {}
        self.new = {REASONER: 0, INJECTOR: 0}
        self._progress = progress
        self._lock = threading.Lock()

    def recall(self, key: str) -> Mapping[str, Any] | None:
        return self.unanswered.get(key) or self.journal.get(key)

    def known(self, key: str) -> bool:
        return key in self.unanswered or key in self.journal

    def keep(self, ask: Ask, reply: Reply) -> None:
        """Called in the model's threads the moment that a reply is there."""
        value = dict(vars(reply))
        if reply.finish_reason in (REFUSED, FAILED):
            self.unanswered[ask.key] = value
        else:
            self.journal.put(ask.key, value)
        with self._lock:
            self.new[ask.stage] += 1
            self._progress(ask.stage, self.new[ask.stage])


def _ask_all(
    steps: Steps, loaded: Mapping[str, Loaded], models: Mapping[str, Model], answers: _Answers
) -> dict[Place, Rejected]:
    """Get every answer that is missing; gives back the records that are rejected before any question.

    The second model works on what the first has answered so far.
    """
    # Records whose reasoning is there. Of those that need no new one only the places, as they may be all of the data.
    ready: deque[tuple[Place, Record | None]] = deque()
    rejected: dict[Place, Rejected] = {}

    def first_questions() -> Iterator[tuple[Place, Record, Ask]]:
        seen: set[str] = set()
        for place, record in _walk(loaded):
            first = steps.first(record)
            if isinstance(first, Ask) and first.content in seen:
                first = Rejected("labels", "the question and its passages stand in an earlier record")
            if isinstance(first, Rejected):
                rejected[place] = first
                continue
            seen.add(first.content)
            if answers.known(first.key):
                ready.append((place, None))
            else:
                yield place, record, first

    def second_questions() -> Iterator[tuple[Place, Record, Ask]]:
        for item in reasoned:
            ready.append(item)
            yield from questions_of_ready()
        yield from questions_of_ready()

    def questions_of_ready() -> Iterator[tuple[Place, Record, Ask]]:
        while ready:
            place, record = ready.popleft()
            if record is None:
                record = to_record(loaded[place.source].rows[place.number])
            outcome = steps.step(record, answers.recall)
            if isinstance(outcome, Ask):
                yield place, record, outcome

    reasoned = _complete(models[REASONER], first_questions(), answers)
    if not any(isinstance(model, Endpoint) for model in models.values()):
        ready.extend(
            (place, None) for place, _ in reasoned
        )  # two models on one machine take turns once, not at every batch
    injected = _complete(models[INJECTOR], second_questions(), answers)
    with contextlib.closing(reasoned), contextlib.closing(injected):
        for _ in injected:
            pass
    return rejected


def _walk(loaded: Mapping[str, Loaded]) -> Iterator[tuple[Place, Record]]:
    for name, source in loaded.items():
        for number, record in enumerate(source.records()):
            yield Place(name, number), record


def _complete(
    model: Model, questions: Iterator[tuple[Place, Record, Ask]], answers: _Answers
) -> Generator[tuple[Place, Record], None, None]:
    """The records as their answers come in; each answer is kept before."""
    under_way: dict[int, tuple[Place, Record, Ask]] = {}

    def conversations() -> Iterator[Conversation]:
        for number, (place, record, ask) in enumerate(questions):
            under_way[number] = place, record, ask
            yield ask.messages

    def keep(number: int, reply: Reply) -> None:
        answers.keep(under_way[number][2], reply)

    for number, _ in enumerate(model.complete(conversations(), keep)):
        place, record, _ = under_way.pop(number)
        yield place, record


def _write(
    folder: Path, steps: Steps, loaded: Mapping[str, Loaded], answers: _Answers, early: Mapping[Place, Rejected]
) -> Yield:
    """Everything but the journal, each file whole or not at all."""
    found = Yield({name: len(source.rows) for name, source in loaded.items()}, new=answers.new)

    def recall(key: str) -> Mapping[str, Any] | None:
        reply = answers.recall(key)
        if reply is not None:
            found.spent[key.partition(":")[0]].add(reply)
        return reply

    with (
        appears_when_done(folder / "rows.jsonl") as rows,
        appears_when_done(folder / "rejected.jsonl") as rejected,
    ):
        for place, record in _walk(loaded):
            outcome = early.get(place) or steps.step(record, recall)
            if isinstance(outcome, Ask):
                raise RunError(f"{folder}: row {record['id']} has no answer; start the same command again.")
            if isinstance(outcome, Rejected):
                found.reject(record["id"], outcome)
                _write_line(rejected, {"id": record["id"], "source": place.source, **asdict(outcome)})
            else:
                row = row_of(record, outcome.completion, steps.settings.system)
                found.keep(place.source, row, outcome)
                _write_line(rows, row)
    found.price({REASONER: steps.settings.reasoner.price, INJECTOR: steps.settings.injector.price})
    write_json(folder / "report.json", found.to_dict())
    write_text(folder / "report.md", found.to_markdown())
    write_text(folder / "preview.md", preview(folder / "rows.jsonl", found.kept, steps.settings.preview_rows))
    return found


def _write_line(file: IO[bytes] | None, row: Mapping[str, Any]) -> None:
    if file is not None:
        file.write((to_json_line(row) + "\n").encode())


def _claim(folder: Path) -> None:
    """Refuse a folder of something else, and take away what a killed start left."""
    if not (folder / JOURNAL).is_file() and any(not item.name.startswith(".") for item in folder.iterdir()):
        raise RunError(
            f"{folder}: holds files but no {JOURNAL}, so it is not of `rlkit distill` and stays untouched; choose another "
            "output_dir."
        )
    (folder / JOURNAL).touch()
    for name in FILES:
        for draft in folder.glob(f".{name}.*"):  # of a start that was killed while it wrote
            draft.unlink()
