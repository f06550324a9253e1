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
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rewards.compose import Weighted
from rewards.config import from_config
from rewards.exploits import TASKS, Outcome, battery, is_tagged, judge, what_it_does
from rewards.presets import PRESETS
from rewards.sample import Sample
from rlkit.audit_report import Line, Report, show
from rlkit.audit_rows import made_up_rows
from rlkit.config import Config, load_config
from rlkit.data.jsonl import normalise
from rlkit.data.record import Record
from rlkit.errors import ConfigError, DataError, RlkitError, nearest
from rlkit.prompts import prompt_of
from rlkit.score import load_reward
from rlkit.streams import cores
from rlkit.yaml_files import read_yaml_file

ROWS_PER_CHUNK = 16
POOL_ROWS = 64  # below this a pool takes longer to start than it saves
SOURCE_ROWS = 200  # of each source: every row is tried with some fifty completions

Row = tuple[str, Record]  # the source's name, the record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", nargs="?", default="", help=f"{', '.join(PRESETS)}, or a YAML file with a section rewards:"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. rewards.accuracy.use=exact_match")
    parser.add_argument("--records", type=Path, metavar="FILE", help="rows to audit on instead of the config's sources")
    parser.add_argument("--format", default="records", help="the layout of FILE (default records: JSON lines)")
    parser.add_argument(
        "--limit", type=int, help=f"the first N rows (default: all of FILE, else {SOURCE_ROWS} of each source)"
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
    reward, rows, source, system = _what_to_audit(args)
    report = audit(reward, rows, own, workers=args.workers, system=system)
    if args.json:
        print(json.dumps({"audited": args.config, "on": source, **report.to_dict()}, ensure_ascii=False))
    else:
        show(args.config, source, report)
    return 1 if report.findings else 0


def audit(
    reward: Weighted,
    rows: Iterable[Row],
    exploits: Sequence[Any] = (),
    *,
    workers: int | None = None,
    system: str | None = "default",
) -> Report:
    """What every honest attempt, built-in cheat and further exploit earns on the rows; a row's task chooses its battery.

    `system` is the prompts' system message, as `chat_prompt` takes it: some cheats quote it.
    Raises `RewardError` where the reward or an exploit fails, `DataError` without rows, `ConfigError` for a wrong
    number of workers.
    """
    if workers is not None and not 1 <= workers <= 4 * cores():
        raise ConfigError(
            f"workers is {workers}, but must be from 1 to {4 * cores()} on this machine of {cores()} cores."
        )
    functions = {task: [*battery(task), *(e for e in exploits if e.task == task)] for task in TASKS}
    work = partial(_audit_chunk, reward, functions, system)
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
    reward: Weighted, functions: Mapping[str, Sequence[Any]], system: str | None, rows: Sequence[Row]
) -> tuple[int, dict[tuple[str, str], Line]]:
    lines: dict[tuple[str, str], Line] = {}
    for source, record in rows:
        sample = Sample.from_record({**record, "source": source}, prompt=prompt_of(record, system))
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


def _what_to_audit(args: argparse.Namespace) -> tuple[Weighted, Iterable[Row], str, str | None]:
    """The reward, the rows, where the rows are from, in words, and the system message of their prompts."""
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit is {args.limit}, but must be at least 1.")
    reward, config = _reward_and_config(args)
    system = "default" if config is None else config.prompt.system
    rows: Iterable[Row]
    if args.records is not None:
        rows = _from_file(args.records, args.format, args.limit)
        return reward, _of_task(args.config, rows) if args.config in PRESETS else rows, str(args.records), system
    if args.config in PRESETS:
        rows = (("made up", record) for record in made_up_rows(args.config))
        return reward, islice(rows, args.limit), "made-up rows", system
    if config is None:
        raise ConfigError(f"{args.config}: has no sources: to take rows from; name a file with --records.")
    sources = config.to_dict()["sources"]
    return reward, _from_sources(sources, args.limit or SOURCE_ROWS), ", ".join(sources), system


def _reward_and_config(args: argparse.Namespace) -> tuple[Weighted, Config | None]:
    """The reward, and the config around it where the file is a whole one."""
    path = Path(args.config)
    values = read_yaml_file(path) if args.config not in PRESETS and path.is_file() else None
    if not isinstance(values, dict) or "method" not in values:
        if args.overrides:
            raise ConfigError(f"{args.overrides[0]}: overrides are for whole configs; {args.config} is none.")
        return load_reward(args.config), None
    config = load_config(path, args.overrides)
    if config.rewards is None:
        raise ConfigError(f"{path}: method {config.method} has no rewards: to audit; name a config of method grpo.")
    return from_config(config.to_dict()["rewards"], path=f"{path}: rewards"), config


def _of_task(task: str, rows: Iterable[Row]) -> Iterator[Row]:
    for name, record in rows:
        if record["task"] != task:
            raise DataError(
                f"{name}: row {record['id']} is of task {record['task']}, which the preset {task} cannot read; audit "
                f"{record['task']} on it."
            )
        yield name, record


def _from_file(path: Path, layout: str, limit: int | None) -> Iterator[Row]:
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


def _from_sources(sources: Mapping[str, Any], limit: int | None) -> Iterator[Row]:
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
