"""Asks a model a suite's questions, on one process or many, and scores what it said.

Knows questions, answers and processes; knows neither how a model generates nor what a metric computes.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from rlkit.data.layout import Report
from rlkit.data.record import Record
from rlkit.errors import RunError
from rlkit.evaluation.controls import controls_for
from rlkit.evaluation.folder import Answers
from rlkit.evaluation.predictions import Predictions
from rlkit.evaluation.questions import Asked, on_whole_records, room, within_window
from rlkit.evaluation.results import Slim, SuiteResult, facts_of, notes_of, slim
from rlkit.evaluation.scoring import Answered, examples, workers_for
from rlkit.evaluation.summary import Cell, summarise
from rlkit.generation.endpoint import UNANSWERED, EndpointError
from rlkit.generation.model import Reply
from rlkit.generation.open import AnyModel, with_defaults
from rlkit.generation.weights import GenerationError
from rlkit.training.processes import first, leave, rank, world_size

T = TypeVar("T")
OnDone = Callable[[int], None]  # told how many questions are done
_WAIT = timedelta(days=30)  # processes end as far apart as their shares of the work
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """The processes of this launch as a group; nothing where there is one alone."""
    if world_size() > 1:
        import torch.distributed

        torch.distributed.init_process_group("gloo", timeout=_WAIT)  # they share words, no tensors
    try:
        yield
    finally:
        leave()  # a process that ends without may abort and hide the error; the launcher ends those that still wait


def on_first_then_all(work: Callable[[], T]) -> T:
    """Do `work` on the first process, then on the others, which find what it left on disk."""
    done: list[T] = []
    first(lambda: done.append(work()))
    return done[0] if done else work()


def wait_for_all() -> None:
    if world_size() > 1:
        import torch.distributed

        torch.distributed.barrier()


def generate(model: AnyModel, suites: Sequence[Asked], tokenizer: Any, folder: Path, on_done: OnDone) -> None:
    """Ask this process's share of all questions that have no answer yet; each answer is kept as it comes.

    Returns when all processes are done.
    """
    answers = on_first_then_all(lambda: Answers(folder / "answers", rank()))
    wait_for_all()  # whoever writes first must not disturb who still reads
    asking = [(with_defaults(model, asked.suite.max_new_tokens), asked) for asked in suites]
    for one, asked in asking:
        _check_room(one, asked, tokenizer, answers)
    wait_for_all()
    for one, asked in asking:
        _generate(one, asked, tokenizer, answers, on_done)
    wait_for_all()


def _check_room(model: AnyModel, asked: Asked, tokenizer: Any, answers: Answers) -> None:
    """Raise `GenerationError` for a prompt that the model has no room for, before hours of answers to the others."""
    prompt_ids, window = getattr(model, "prompt_ids", None), getattr(model, "window_tokens", None)
    if prompt_ids is None or window is None:
        return
    identity = model.identity
    asked = _narrowed(asked, model)
    for question in asked.questions(tokenizer, _reports(asked), (rank(), world_size())):
        if question.key(identity) in answers:
            continue
        try:
            prompt_ids(question.messages)
        except GenerationError as error:
            most = room(window, asked.suite)
            way_out = f" suites.{question.suite}.contexts.{question.context}.max_tokens={most} cuts longer prompts."
            raise GenerationError(
                f"{question.suite}/{question.subset}/{question.context}/{question.record['id']}: {error}"
                f"{way_out if most > 1 else ''} Nothing new was asked."
            ) from error


def _generate(model: AnyModel, asked: Asked, tokenizer: Any, answers: Answers, on_done: OnDone) -> None:
    identity = model.identity
    asked = _narrowed(asked, model)
    keys: list[str] = []  # of the questions in the order in which the model draws them
    total = asked.rows // world_size()
    seen = 0

    def conversations() -> Iterator[list[dict[str, str]]]:
        nonlocal seen
        for question in asked.questions(tokenizer, _reports(asked), (rank(), world_size())):
            key = question.key(identity)
            if key in answers:
                seen += 1
                on_done(1)
            else:
                keys.append(key)
                yield question.messages

    def keep(number: int, reply: Reply) -> None:
        answers.put(keys[number], reply)
        on_done(1)

    try:
        for _ in model.complete(conversations(), keep):
            pass
    except (GenerationError, EndpointError) as error:
        if error.number is None:
            raise
        told = f"{keys[error.number].rpartition('/')[0]}: {error}"
        if isinstance(error, EndpointError):
            told += " model.tolerate=N lets pass N such requests in a row; they count as empty answers."
        raise type(error)(told) from error
    if seen:
        _log.info("%s: %d of %d answers were there already", asked.suite.name, seen, total)


def answered_by_model(
    model: AnyModel, asked: Asked, tokenizer: Any, folder: Path, reports: dict[str, Report]
) -> Iterator[Answered]:
    """The questions with the answers that `generate` kept."""
    answers = Answers(folder / "answers")
    model = with_defaults(model, asked.suite.max_new_tokens)
    identity = model.identity
    narrowed = _narrowed(asked, model)
    lowered = {
        name: f"max_tokens is {policy.max_tokens:,}, not {asked.policies[name].max_tokens:,}, to leave the model room to answer"
        for name, policy in narrowed.policies.items()
        if policy != asked.policies[name]
    }
    for question in narrowed.questions(tokenizer, reports):
        if question.context in lowered:
            reports[question.context].note(lowered[question.context], question.record["id"])
        reply = answers.get(question.key(identity))
        if reply is None:
            raise RunError(
                f"{folder}: no answer to {question.suite}/{question.subset}/{question.record['id']}, though all were asked; did "
                "the model or the data change meanwhile? Start the same command again."
            )
        if reply.finish_reason in UNANSWERED:  # its text is the endpoint's complaint
            reports[question.context].note(
                f"request {reply.finish_reason}, counted as an empty answer", question.record["id"]
            )
            reply = replace(reply, text="")
        yield Answered(question.suite, question.subset, question.context, question.record, reply)


def for_file(predictions: Predictions, asked: Asked, chosen: bool) -> Asked:
    """The suite as a file's answers are graded; `chosen` says whether the user named the context that they were given with.

    Raises `DataError` where it is unclear which of several contexts a line belongs to.
    """
    predictions.check_contexts(list(asked.policies))
    return asked if chosen or predictions.names_contexts else on_whole_records(asked)


def answered_by_file(
    predictions: Predictions, asked: Asked, tokenizer: Any, reports: dict[str, Report]
) -> Iterator[Answered]:
    """The questions with the predictions of a file; what has none is noted there."""
    unknown = {name for name, policy in asked.policies.items() if policy != asked.suite.policy(name)}
    for subset, context, record, shown in _graded(asked, tokenizer, reports):
        if shown is None:
            predictions.pass_over(asked.suite.name, subset, context, record["id"])
            continue
        if context in unknown:
            reports[context].note(
                "graded on the whole context, since nothing says what the model was shown", record["id"]
            )
        answered = predictions.answer(asked.suite.name, subset, context, shown)
        if answered is not None:
            yield answered


def scored(
    asked: Asked, answered: Iterable[Answered], reports: dict[str, Report], workers: int | None = None
) -> tuple[SuiteResult, Iterator[dict[str, Any]]]:
    """A suite's result, which fills while the examples in full are drawn."""
    result = SuiteResult(facts_of(asked.suite))

    def lines() -> Iterator[dict[str, Any]]:
        ends = []
        for line in examples(answered, {asked.suite.name: asked.scorers}, workers or workers_for(asked.rows)):
            result.examples.append(slim(line))
            ends.append((line["context"], line["finish_reason"]))
            yield line
        result.notes = notes_of({name: source.report for name, source in asked.sources.items()}, reports, ends)

    return result, lines()


def control_cells(asked: Asked, tokenizer: Any, workers: int | None = None) -> dict[str, list[Cell]]:
    """What answers that no model gave score on a suite, in its first context."""
    context, policy = next(iter(asked.policies.items()))
    one = replace(asked, policies={context: policy})
    controls = controls_for(record for _, record in asked.labels())
    answered = (
        Answered(asked.suite.name, subset, name, shown, Reply(control(shown), "stop", 0, 0))
        for subset, _, _, shown in _graded(one, tokenizer, _reports(one))
        if shown is not None
        for name, control in controls.items()
    )
    values: dict[str, list[Slim]] = {name: [] for name in controls}
    many = workers or workers_for(one.rows * len(controls))
    for line in examples(answered, {asked.suite.name: asked.scorers}, many):
        values[line["context"]].append({**slim(line), "context": context})
    table = asked.suite.table
    return {name: summarise(rows, overall=table.overall, groups=table.groups) for name, rows in values.items()}


def _graded(
    asked: Asked, tokenizer: Any, reports: dict[str, Report]
) -> Iterator[tuple[str, str, Record, Record | None]]:
    """Subset, context and record of every row, and what answers to it are graded on: None where it asks nothing."""
    count = None if tokenizer is None else (lambda text: len(tokenizer.encode(text, add_special_tokens=False)))
    for context, policy in asked.policies.items():
        report = reports[context]
        for subset, record in asked.records():
            shown = policy.apply(record, report, count)
            if shown is not None:
                report.keep()
            yield subset, context, record, shown


def _reports(asked: Asked) -> dict[str, Report]:
    return {context: Report() for context in asked.policies}


def _narrowed(asked: Asked, model: AnyModel) -> Asked:
    return within_window(asked, getattr(model, "window_tokens", None))
