"""`rlkit audit`: does cheating pay? Builds honest completions and known cheats for rows and compares what they earn.

Knows the command line: which reward, which rows, whose exploits. The audit itself is `rlkit.auditing`, how a cheat is built
and what it is compared with `rewards.exploits`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rewards.compose import Weighted
from rewards.config import from_config
from rewards.exploits import TASKS, battery, is_tagged, what_it_does
from rewards.presets import PRESETS
from rlkit.auditing.made_up import made_up_rows
from rlkit.auditing.report import show
from rlkit.auditing.rows import from_file, from_sources, of_task
from rlkit.auditing.run import Row, audit
from rlkit.config import Config, load_config
from rlkit.errors import ConfigError, RlkitError, nearest
from rlkit.score import load_reward
from rlkit.training.support import with_start_model
from rlkit.yaml_files import read_yaml_file

SOURCE_ROWS = 200  # of each source: every row is tried with dozens of completions


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
        rows = from_file(args.records, args.format, args.limit)
        return reward, of_task(args.config, rows) if args.config in PRESETS else rows, str(args.records), system
    if args.config in PRESETS:
        rows = (("made up", record) for record in made_up_rows(args.config))
        return reward, islice(rows, args.limit), "made-up rows", system
    if config is None:
        raise ConfigError(f"{args.config}: has no sources: to take rows from; name a file with --records.")
    sources = config.to_dict()["sources"]
    return reward, from_sources(sources, args.limit or SOURCE_ROWS), ", ".join(sources), system


def _reward_and_config(args: argparse.Namespace) -> tuple[Weighted, Config | None]:
    """The reward, and the config around it where the file is a whole one."""
    path = Path(args.config)
    if args.config not in PRESETS and not path.is_file():
        presets = ", ".join(PRESETS)
        raise ConfigError(f"{path}: neither a preset ({presets}) nor a file.{nearest(args.config, PRESETS)}")
    values = None if args.config in PRESETS else read_yaml_file(path)
    if not isinstance(values, dict) or "method" not in values:
        if args.overrides:
            raise ConfigError(f"{args.overrides[0]}: overrides are for whole configs; {args.config} is none.")
        return load_reward(args.config), None
    config = load_config(path, args.overrides)
    if config.rewards is None:
        raise ConfigError(f"{path}: method {config.method} has no rewards: to audit; name a config of method grpo.")
    reward = from_config(config.to_dict()["rewards"], path=f"{path}: rewards")
    model = config.model.get("model_name_or_path")  # asked by parts that judge quotes with the start model
    return with_start_model(reward, str(model), config.prompt.system) if model else reward, config


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
