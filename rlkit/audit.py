"""`rlkit audit`: does cheating pay? Builds honest completions and known cheats for rows and compares what they earn.

Knows rows, processes and tables; how a cheat is built and what it is compared with stands in `rewards.exploits`. Loads
no model and no torch.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pickle
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rewards.compose import Weighted
from rewards.config import from_config
from rewards.exploits import TASKS, Outcome, battery, is_tagged, judge, what_it_does
from rewards.presets import PRESETS
from rewards.sample import Sample
from rlkit.audit_rows import made_up_rows
from rlkit.config import load_config, read_yaml_file
from rlkit.data.jsonl import normalise
from rlkit.data.record import Record
from rlkit.errors import ConfigError, DataError, RlkitError, nearest
from rlkit.prompts import prompt_of
from rlkit.score import load_reward
from rlkit.streams import cores

ROWS_PER_CHUNK = 16
POOL_ROWS = 64  # below this a pool takes longer to start than it saves
MAX_SHOWN_CHARS = 300
DEFAULT_LIMIT_ROWS = 2_000  # of a source: every row is tried with some fifty completions

Row = tuple[str, Record]  # the source's name, the record


@dataclass
class Mean:
    """A running mean of what attempts earned, and of what honest attempts of equal correctness did."""

    attempts: int = 0
    earned: float = 0.0
    honest: float = 0.0

    def add(self, other: Mean) -> None:
        self.attempts += other.attempts
        self.earned += other.earned
        self.honest += other.honest

    def to_dict(self) -> dict[str, float] | None:
        if not self.attempts:
            return None
        return {"earned": self.earned / self.attempts, "honest": self.honest / self.attempts, "attempts": self.attempts}


@dataclass
class Line:
    """What one exploit or honest attempt earned over all rows; `pays` counts the rows on which it must not."""

    name: str
    task: str
    cheat: bool
    rows: int = 0
    pays: int = 0
    most: float = -float("inf")
    right: Mean = field(default_factory=Mean)
    other: Mean = field(default_factory=Mean)
    worst: Outcome | None = None

    def see(self, outcomes: Sequence[Outcome]) -> None:
        """Take in what it earned on one row."""
        self.rows += 1
        self.pays += any(outcome.pays for outcome in outcomes)
        for outcome in outcomes:
            mean = self.right if outcome.attempt.right == 1.0 else self.other
            mean.add(Mean(1, outcome.earned, outcome.honest))
            self.most = max(self.most, outcome.earned)
            self._keep(outcome)

    def add(self, other: Line) -> None:
        self.rows += other.rows
        self.pays += other.pays
        self.most = max(self.most, other.most)
        self.right.add(other.right)
        self.other.add(other.other)
        if other.worst is not None:
            self._keep(other.worst)

    def _keep(self, outcome: Outcome) -> None:
        # Where one must not be, it is the one to show, however small its margin is.
        key = (outcome.pays, outcome.margin)
        if self.worst is None or key > (self.worst.pays, self.worst.margin):
            self.worst = outcome

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"name": self.name, "task": self.task, "rows": self.rows, "pays_on_rows": self.pays}
        if self.worst is not None:
            worst = self.worst
            found |= {
                "most_earned": self.most,
                "right": self.right.to_dict(),
                "not_right": self.other.to_dict(),
                "worst": {
                    "margin": worst.margin,
                    "row": worst.row,
                    "earned": worst.earned,
                    "honest": worst.honest,
                    "right_answer_earns": worst.right_earns,
                    "parts": dict(worst.parts),
                    "right": worst.attempt.right,
                    "evidence": worst.attempt.evidence,
                    "completion": worst.attempt.completion,
                },
            }
        return found


@dataclass
class Report:
    """What an audit found: a line for each honest attempt and each cheat, in the battery's order."""

    rows: int
    lines: list[Line]

    @property
    def findings(self) -> list[Line]:
        """The cheats that pay, and the wrong answers that earn as much as right ones."""
        return [line for line in self.lines if line.pays]

    @property
    def attempts(self) -> int:
        return sum(line.right.attempts + line.other.attempts for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "attempts": self.attempts,
            "passes": not self.findings,
            "honest": [line.to_dict() for line in self.lines if not line.cheat],
            "cheats": [line.to_dict() for line in self.lines if line.cheat],
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", nargs="?", default="", help=f"{', '.join(PRESETS)}, or a YAML file with a section rewards:"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. rewards.accuracy.use=exact_match")
    parser.add_argument("--records", type=Path, metavar="FILE", help="rows to audit on instead of the config's sources")
    parser.add_argument("--format", default="records", help="the layout of FILE (default records: JSON lines)")
    parser.add_argument(
        "--limit",
        type=int,
        default=DEFAULT_LIMIT_ROWS,
        help="rows of each source (default %(default)s, the first ones)",
    )
    parser.add_argument(
        "--exploit", action="append", default=[], metavar="MODULE:NAME", help="a cheat of your own besides; repeatable"
    )
    parser.add_argument("--list", action="store_true", help="say what is tried, and stop")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")


def main(args: argparse.Namespace) -> int:
    own = [load_exploit(spec) for spec in args.exploit]
    if args.list:
        _list(args.config, own, args.json)
        return 0
    if not args.config:
        raise ConfigError(f"nothing to audit: name {' or '.join(PRESETS)}, or a YAML file with a section rewards:.")
    reward, rows, source = _what_to_audit(args)
    report = audit(reward, rows, own, workers=args.workers)
    if args.json:
        print(json.dumps({"audited": args.config, "on": source, **report.to_dict()}, ensure_ascii=False))
    else:
        _show(args.config, source, report)
    return 1 if report.findings else 0


def audit(reward: Weighted, rows: Iterable[Row], exploits: Sequence[Any] = (), *, workers: int | None = None) -> Report:
    """What every honest attempt, built-in cheat and further exploit earns on the rows; a row's task chooses its battery.

    Raises `RewardError` where the reward or an exploit fails, `DataError` without rows, `ConfigError` for a wrong
    number of workers.
    """
    if workers is not None and not 1 <= workers <= 4 * cores():
        raise ConfigError(
            f"workers is {workers}, but must be from 1 to {4 * cores()} on this machine of {cores()} cores."
        )
    functions = {task: [*battery(task), *(e for e in exploits if e.task == task)] for task in TASKS}
    work = partial(_audit_chunk, reward, functions)
    lines = {
        (task, function.__name__): Line(function.__name__, task, is_tagged(function, "cheat"))
        for task in TASKS
        for function in functions[task]
    }
    count = 0
    tasks: set[str] = set()
    for size, seen in _over_processes(work, rows, workers):
        count += size
        for key, line in seen.items():
            lines[key].add(line)
            tasks.add(line.task)
    if not count:
        raise DataError("there is no row to audit on.")
    return Report(count, [line for line in lines.values() if line.task in tasks])


def _audit_chunk(
    reward: Weighted, functions: Mapping[str, Sequence[Any]], rows: Sequence[Row]
) -> tuple[int, dict[tuple[str, str], Line]]:
    lines: dict[tuple[str, str], Line] = {}
    for source, record in rows:
        sample = Sample.from_record({**record, "source": source}, prompt=prompt_of(record, "default"))
        task = record["task"]
        by_name: dict[str, list[Outcome]] = {}
        for outcome in judge(reward, sample, functions[task]):
            by_name.setdefault(outcome.name, []).append(outcome)
        for name, outcomes in by_name.items():
            lines.setdefault((task, name), Line(name, task, outcomes[0].cheat)).see(outcomes)
    return len(rows), lines


def _over_processes(work: Any, rows: Iterable[Row], workers: int | None) -> Iterator[Any]:
    """The work on chunks of rows, in order, over several processes where that pays; few chunks at once."""
    stream = iter(rows)
    first = list(islice(stream, POOL_ROWS))
    if workers is None:
        workers = cores() if len(first) == POOL_ROWS else 1
    chunks = _chunks(chain(first, stream))
    if workers == 1 or not _can_be_sent(work):
        yield from map(work, chunks)
        return
    pending: deque[Future[Any]] = deque()
    with ProcessPoolExecutor(workers) as pool:
        try:
            for chunk in chunks:
                pending.append(pool.submit(work, chunk))
                if len(pending) >= 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, ROWS_PER_CHUNK)):
        yield chunk


def _can_be_sent(work: Any) -> bool:
    """Whether the reward and the exploits can go to other processes; a lambda in a reward cannot."""
    try:
        pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def load_exploit(spec: str) -> Any:
    """The user's exploit that `module:name` names, tried beside the built-in ones; raises `ConfigError`."""
    module_name, _, name = spec.partition(":")
    if not name:
        raise ConfigError(f"--exploit {spec}: must be module:name, such as my_lab.cheats:title_as_quote.")
    if os.getcwd() not in sys.path:  # an installed command starts without the working directory
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigError(
            f"--exploit {spec}: cannot import {module_name!r}: {type(error).__name__}: {error}."
        ) from error
    function = getattr(module, name, None)
    names = [key for key, value in vars(module).items() if is_tagged(value, "cheat")]
    if function is None:
        raise ConfigError(f"--exploit {spec}: {module_name} has no {name!r}.{nearest(name, names)}")
    if not is_tagged(function, "cheat"):
        raise ConfigError(
            f"--exploit {spec}: is not tagged as an exploit, so it is unknown what its completions deserve; put "
            '@exploit("care", right=0.0, evidence=0.0) above it (from rewards.exploits import exploit).'
        )
    built_in = [built.__name__ for built in battery(function.task)]
    if name in built_in:
        raise ConfigError(f"--exploit {spec}: the battery of {function.task} has a {name!r} already; rename yours.")
    return function


def _what_to_audit(args: argparse.Namespace) -> tuple[Weighted, Iterable[Row], str]:
    """The reward, the rows, and where the rows are from, in words."""
    if args.limit < 1:
        raise ConfigError(f"--limit is {args.limit}, but must be at least 1.")
    reward, sources = _reward_and_sources(args)
    if args.records is not None:
        return reward, _from_file(args.records, args.format, args.limit), str(args.records)
    if args.config in PRESETS:
        return reward, (("made up", record) for record in made_up_rows(args.config)), "made-up rows"
    if not sources:
        raise ConfigError(f"{args.config}: has no sources: to take rows from; name a file with --records.")
    return reward, _from_sources(sources, args.limit), ", ".join(sources)


def _reward_and_sources(args: argparse.Namespace) -> tuple[Weighted, Mapping[str, Any]]:
    whole = args.config not in PRESETS and Path(args.config).is_file()
    values = read_yaml_file(Path(args.config)) if whole else None
    if not isinstance(values, dict) or "method" not in values:
        if args.overrides:
            raise ConfigError(f"{args.overrides[0]}: overrides are for whole configs; {args.config} is none.")
        return load_reward(args.config), {}
    config = load_config(args.config, args.overrides)
    if config.rewards is None:
        raise ConfigError(
            f"{args.config}: method {config.method} has no rewards: to audit; name a config of method grpo."
        )
    plain = config.to_dict()
    return from_config(plain["rewards"], path=f"{args.config}: rewards"), plain["sources"]


def _from_file(path: Path, layout: str, limit: int) -> Iterator[Row]:
    if layout != "records" or path.suffix not in (".jsonl", ".json"):
        yield from _from_sources({path.stem: {"format": layout, "path": str(path)}}, limit)
        return
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    seen = 0
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number}: not a line of JSON: {error}.") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: holds {type(row).__name__}, but each line must be an object.")
            yield path.stem, normalise(row, f"{path}:{number}")
            seen += 1
            if seen == limit:
                return


def _from_sources(sources: Mapping[str, Any], limit: int) -> Iterator[Row]:
    from rlkit.data.load import load_source

    for name, spec in sources.items():
        for record in islice(load_source(spec, f"sources.{name}").records(), limit):
            yield name, record


def _list(config: str, own: Sequence[Any], as_json: bool) -> None:
    if config and config not in TASKS:
        raise RlkitError(f"--list {config}: lists the battery of a task, {' or '.join(TASKS)}.{nearest(config, TASKS)}")
    listed = [
        {"task": task, "kind": kind, "name": function.__name__, "does": what_it_does(function)}
        for task in ([config] if config else TASKS)
        for kind in ("honest", "cheat")
        for function in [*battery(task), *(e for e in own if e.task == task)]
        if is_tagged(function, kind)
    ]
    if as_json:
        print(json.dumps(listed, ensure_ascii=False))
        return
    for item in listed:
        print(f"{item['task']:<9}  {item['kind']:<6}  {item['name']:<28}  {item['does']}")


def _show(audited: str, source: str, report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)  # piped: wide enough that no cell is folded
    console.print(f"{audited} on {report.rows:,} rows ({source}): {report.attempts:,} completions", markup=False)
    heads = ("", "rows", "right answer", "honest", "other answer", "honest", "most", "worst margin", "on row")
    for task in dict.fromkeys(line.task for line in report.lines):
        table = Table(*heads, title=f"{task}: mean of what is earned, beside what honesty of equal correctness earns")
        table.title_justify = "left"
        for column in table.columns[1:8]:
            column.justify, column.no_wrap = "right", True
        lines = [line for line in report.lines if line.task == task]
        for cheat in (False, True):
            for line in (line for line in lines if line.cheat is cheat):
                table.add_row(*_cells(line), style="red" if line.pays else None)
            table.add_section()
        console.print(table)
    for line in report.findings:
        _show_finding(console, line)
    if not report.findings:
        console.print("no cheat earns more than an honest attempt of equal correctness")


def _cells(line: Line) -> list[str]:
    if line.worst is None:
        return [line.name, "0", *["-"] * 6, "cannot be built here"]
    right, other = (
        ("-", "-")
        if not mean.attempts
        else (_figure(mean.earned / mean.attempts), _figure(mean.honest / mean.attempts))
        for mean in (line.right, line.other)
    )
    if not line.cheat:
        right, other = (right[0], ""), (other[0], "")
    margin = _figure(line.worst.margin, sign=True) if line.cheat or line.pays else ""
    row = line.worst.row if line.cheat or line.pays else ""
    return [line.name, f"{line.rows:,}", *right, *other, _figure(line.most), margin, row]


def _show_finding(console: Any, line: Line) -> None:
    worst = line.worst
    if worst is None:
        return
    what, least = "an honest attempt of equal correctness", worst.honest
    if worst.as_good_as_right:
        what, least = "the right answer with as good evidence", worst.right_earns
    parts = ", ".join(f"{name} {'-' if value is None else _figure(value)}" for name, value in worst.parts.items())
    completion = worst.attempt.completion
    shown = completion if len(completion) <= MAX_SHOWN_CHARS else f"{completion[:MAX_SHOWN_CHARS]} ..."
    console.print(
        f"\n{line.name} pays on {line.pays:,} of {line.rows:,} rows: it earns {_figure(worst.earned)}, {what} "
        f"{_figure(least)}\n  row {worst.row}: {parts}\n  {shown}",
        markup=False,
        soft_wrap=True,
    )


def _figure(value: float, sign: bool = False) -> str:
    value = 0.0 if abs(value) < 5e-4 else value  # no "-0.000"
    return f"{value:+.3f}" if sign else f"{value:.3f}"
