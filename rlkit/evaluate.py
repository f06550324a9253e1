"""`rlkit evaluate`: a model, or completions that exist already, on suites; figures with intervals beside the published ones.

The command line of `rlkit.evaluation`; knows options and printing alone.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit.errors import ConfigError
from rlkit.training.processes import first, rank, same, world_size

if TYPE_CHECKING:
    from rlkit.data.layout import Report
    from rlkit.evaluation.questions import Asked
    from rlkit.evaluation.results import Results
    from rlkit.evaluation.scoring import Answered
    from rlkit.evaluation.settings import Settings
    from rlkit.evaluation.suite import Suite
    from rlkit.generation.open import AnyModel

_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("settings", nargs="*", metavar="CONFIG | a.b=value", help="a YAML file with model:, suites:, output_dir:, and changes of it")  # fmt: skip
    parser.add_argument("--model", help="a run, a model's folder, a model on the hub, or http://host:port/v1#MODEL")
    parser.add_argument("--predictions", type=Path, help="score these instead: JSON lines, each with an id and a completion")  # fmt: skip
    parser.add_argument("--suite", nargs="+", action="extend", default=[], metavar="NAME", help="shipped suites, or YAML files of yours")  # fmt: skip
    parser.add_argument("--context", nargs="+", action="extend", metavar="POLICY", help="context policies in place of each suite's own; all = all that it names")  # fmt: skip
    parser.add_argument("--limit", type=int, help="the first N rows of every source alone")
    parser.add_argument("--controls", action="store_true", help="also score constant, gold and empty answers")
    parser.add_argument("--tokenizer", help="what counts tokens where the model is an endpoint: a folder or a hub name")
    parser.add_argument("--allow-missing", action="store_true", help="leave out questions that have no prediction")
    parser.add_argument("--out", type=Path, help="folder of the results (default: RUN/evaluation or runs/evaluate-MODEL)")  # fmt: skip
    parser.add_argument("--workers", type=int, help="processes that score (default: one a core for many rows)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    reading = parser.add_argument_group("reading finished evaluations, without a model")
    reading.add_argument("--show", type=Path, metavar="DIR", help="the tables of one evaluation")
    reading.add_argument("--compare", type=Path, nargs=2, metavar="DIR", help="paired bootstrap of the difference of two")  # fmt: skip
    reading.add_argument("--seeds", type=Path, nargs="+", metavar="DIR", help="mean and spread over runs")


def main(args: argparse.Namespace) -> int:
    if args.show or args.compare or args.seeds:
        return _read(args)
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit: is {args.limit}, but must be at least 1.")
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"--workers: is {args.workers}, but must be at least 1.")
    if args.predictions is not None and args.model is not None:
        raise ConfigError("--model and --predictions: give one; predictions are scored without a model.")
    return _evaluate_predictions(args) if args.predictions is not None else _evaluate_model(args)


def _evaluate_model(args: argparse.Namespace) -> int:
    from rlkit.evaluation import run
    from rlkit.evaluation.folder import claim
    from rlkit.evaluation.questions import load_questions
    from rlkit.evaluation.settings import as_trained, chosen_model, default_folder
    from rlkit.folder_lock import held
    from rlkit.training.stopping import follow_launcher

    follow_launcher()
    settings, plain = same(lambda: _settings(args))
    model, label, saved = same(lambda: chosen_model(settings, args.model))
    suites = [as_trained(suite, saved) for suite in plain]
    if suites != plain and rank() == 0:
        _log.info("asked with the system message that the run was trained with (prompt.system)")
    named = args.model or str(settings.model.get("model_name_or_path", ""))
    folder = args.out or (Path(settings.output_dir) if settings.output_dir else default_folder(named, label))
    with run.joined(), contextlib.ExitStack() as until_done:
        asked = run.on_first_then_all(lambda: load_questions(suites, args.context, args.limit))
        tokenizer = same(lambda: _tokenizer(model, args.tokenizer or settings.tokenizer))

        def take_folder() -> None:
            until_done.enter_context(held(folder, "--out"))
            claim(folder, {"model": label, "identity": _digest(model.identity.encode())}, model)

        first(take_folder)
        questions = sum(-(-one.rows // world_size()) for one in asked)
        with _progress_bar(f"asking {label}", questions) as on_done:
            run.generate(model, asked, tokenizer, folder, on_done)
        if rank() > 0:
            return 0
        made, streams = _scored(args, asked, tokenizer, lambda one, reports: run.answered_by_model(model, one, tokenizer, folder, reports))  # fmt: skip
        _finish(args, label, made, chain.from_iterable(streams), folder)
    return 0


def _evaluate_predictions(args: argparse.Namespace) -> int:
    from rlkit.evaluation import run
    from rlkit.evaluation.folder import claim
    from rlkit.evaluation.predictions import read_predictions
    from rlkit.evaluation.questions import load_questions
    from rlkit.folder_lock import held

    settings, suites = _settings(args)
    predictions = read_predictions(args.predictions)
    loaded = load_questions(suites, args.context, args.limit)
    asked = [run.for_file(predictions, one, chosen=args.context is not None) for one in loaded]
    tokenizer = _tokenizer(None, args.tokenizer or settings.tokenizer)
    made, streams = _scored(args, asked, tokenizer, lambda one, reports: run.answered_by_file(predictions, one, tokenizer, reports))  # fmt: skip

    def checked() -> Iterator[dict[str, Any]]:
        yield from chain.from_iterable(streams)
        predictions.check_missing(sum(one.rows for one in asked), args.allow_missing)
        if args.limit is None:
            predictions.check_extra({one.suite.name: list(one.policies) for one in asked}, sum(one.left_out for one in asked))  # fmt: skip

    with contextlib.ExitStack() as until_done:
        if args.out is not None:
            until_done.enter_context(held(args.out, "--out"))
            file = args.predictions
            claim(args.out, {"model": file.stem, "identity": _digest(file.read_bytes())}, {"predictions": str(file)})
        _finish(args, args.predictions.stem, made, checked(), args.out)
    return 0


def _read(args: argparse.Namespace) -> int:
    from rlkit.evaluation import results
    from rlkit.evaluation.tables import text

    if args.show:
        label, found = results.read(args.show)
        found = {name: one for name, one in found.items() if not args.suite or name in args.suite}
        print(results.as_json(label, found) if args.json else results.as_text(label, found))
        return 0
    tables = results.comparison(*args.compare) if args.compare else results.seeds(args.seeds)
    print(
        json.dumps([table.data for table in tables], ensure_ascii=False) if args.json else "\n".join(map(text, tables))
    )
    return 0


def _settings(args: argparse.Namespace) -> tuple[Settings, list[Suite]]:
    from rlkit.evaluation.settings import chosen_suites, load_settings

    # `--suite a b c=d`: an option with several values takes what stands behind them, too
    words = [*args.settings, *args.suite, *(args.context or ())]
    changes = [word for word in words if "=" in word]
    args.suite = [word for word in args.suite if "=" not in word]
    args.context = None if args.context is None else [word for word in args.context if "=" not in word]
    configs = [word for word in args.settings if "=" not in word]
    if len(configs) > 1:
        raise ConfigError(f"{' '.join(configs)}: more than one config; name one, and suites behind --suite.")
    settings = load_settings(Path(configs[0]) if configs else None, changes)
    return settings, chosen_suites(settings, args.suite)


def _tokenizer(model: AnyModel | None, named: str | None) -> Any:
    """What counts and cuts: the one that is named, else the model's own; an endpoint has none."""
    from rlkit.generation.endpoint import Endpoint
    from rlkit.generation.local import Local

    if named is not None:
        return Local(named).tokenizer
    return None if model is None or isinstance(model, Endpoint) else model.tokenizer


def _scored(
    args: argparse.Namespace,
    asked: Sequence[Asked],
    tokenizer: Any,
    answered: Callable[[Asked, dict[str, Report]], Iterator[Answered]],
) -> tuple[Results, list[Iterator[dict[str, Any]]]]:
    """A result for each suite, and the scored examples that fill them when they are drawn."""
    from rlkit.data.layout import Report
    from rlkit.evaluation.run import control_cells, scored

    made: Results = {}
    streams = []
    for one in asked:
        reports = {context: Report() for context in one.policies}
        made[one.suite.name], lines = scored(one, answered(one, reports), reports, args.workers)
        streams.append(lines)
        if args.controls:
            made[one.suite.name].controls = control_cells(one, tokenizer, args.workers)
    return made, streams


def _finish(
    args: argparse.Namespace, label: str, made: Results, lines: Iterator[dict[str, Any]], folder: Path | None
) -> None:
    from rlkit.evaluation import results

    found = results.gather(made, lines) if folder is None else results.write(folder, label, made, lines)
    asked = {name: found[name] for name in made}
    print(results.as_json(label, asked) if args.json else results.as_text(label, asked))
    if folder is not None and not args.json:
        print(f"written to {folder}: examples.jsonl, results.json, table.md")


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()


@contextlib.contextmanager
def _progress_bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on the first process's standard error where that is a terminal, else a line for every tenth."""
    if rank() > 0:
        yield lambda done: None
        return
    if not sys.stderr.isatty():
        done = 0

        def log(more: int) -> None:
            nonlocal done
            before, done = 10 * done // total, done + more
            if 10 * done // total > before:
                _log.info("%s: %d of %d", title, done, total)

        yield log
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda more: bar.advance(task, more)
