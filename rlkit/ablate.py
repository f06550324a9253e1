"""`rlkit ablate`: variants of one training, each over several seeds, and one table with intervals.

The command line of `rlkit.ablation`; knows options and printing alone.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit.errors import ConfigError, nearest

if TYPE_CHECKING:
    from rlkit.ablation.jobs import Job, Outcome
    from rlkit.ablation.settings import Ablation

COMPLETIONS = 200  # of each run, in the report
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a YAML file with seeds:, variants:, evaluate:; see configs/ablate/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. output_dir=runs/mine")
    parser.add_argument("--seeds", type=int, nargs="+", help="these in place of the file's")
    parser.add_argument("--only", nargs="+", default=[], metavar="VARIANT", help="these variants alone")
    parser.add_argument("--jobs", type=int, help="how many run at a time (default: one a GPU, or one a core)")
    parser.add_argument(
        "--metrics", nargs="+", metavar="NAME", help="figures to print (default: each suite's headline)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    parser.add_argument("--show", action="store_true", help="the tables of what is done, without running anything")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def main(args: argparse.Namespace) -> int:
    from rlkit.ablation.jobs import jobs_of
    from rlkit.ablation.settings import load_ablation

    if args.jobs is not None and args.jobs < 1:
        raise ConfigError(f"--jobs: is {args.jobs}, but must be at least 1.")
    ablation = load_ablation(Path(args.config), args.overrides, args.seeds)
    for name in args.only:
        if name not in ablation.variants:
            raise ConfigError(f"--only: there is no variant {name!r}; there are {', '.join(ablation.variants)}.{nearest(name, ablation.variants)}")  # fmt: skip
    jobs = jobs_of(ablation, args.only)
    if args.dry_run:
        for job in jobs:
            print(f"# {job.name}{' (done)' if job.is_done() else ''}\n{shlex.join(job.command)}")
        return 0
    failed = 0 if args.show else _run(ablation, jobs, args.jobs)
    _finish(ablation, args, write=not args.show)
    return 1 if failed else 0


def _run(ablation: Ablation, jobs: list[Job], count: int | None) -> int:
    from rlkit.ablation.jobs import ended_by_signal, places_for, run_jobs
    from rlkit.folder_lock import held

    done = 0

    def on_event(job: Job, outcome: Outcome, seconds: float, words: str) -> None:
        nonlocal done
        done += 1
        told = f"{seconds:.0f} s" if outcome == "done" else {"kept": "is there", "not run": f"not run: {words}"}.get(outcome, "FAILED")  # fmt: skip
        _log.info("[%d/%d] %s: %s", done, len(jobs), job.name, told)
        if outcome == "failed":
            _log.error("%s\n(all of it: %s)", words, job.log)

    with held(ablation.output_dir, "output_dir"), ended_by_signal():
        places = places_for(count)
        _log.info("%d jobs, %d at a time; %d are done", len(jobs), len(places), sum(job.is_done() for job in jobs))
        ended = run_jobs(jobs, places, on_event)
    return sum(outcome in ("failed", "not run") for outcome in ended.values())


def _finish(ablation: Ablation, args: argparse.Namespace, write: bool) -> None:
    from rlkit.ablation import summary
    from rlkit.ablation.tables import tables
    from rlkit.evaluation.tables import markdown, text
    from rlkit.runs import write_json, write_text

    values = summary.measured(ablation)
    if not values:
        raise ConfigError(
            f"{ablation.output_dir}: nothing is measured yet, so there is no table; leave out --show to run."
        )
    data: dict[str, Any] = summary.as_data(ablation, values)
    known = list(dict.fromkeys(figure.metric for figures in values.values() for figure in figures))
    for name in args.metrics or ():
        if name not in known:
            raise ConfigError(
                f"--metrics: {name!r} was not measured; there are {', '.join(known)}.{nearest(name, known)}"
            )
    headlines = list(dict.fromkeys(suite.headline for suite in ablation.evaluation()[1]))
    made = tables(ablation, values, args.metrics or headlines)
    if write:
        write_json(ablation.output_dir / "results.json", data)
        write_text(ablation.output_dir / "table.md", "\n".join(map(markdown, made)))
        runs = summary.run_folders(ablation, values)
        if runs:
            from rlkit.report import write_report

            out, asked = ablation.output_dir / "report.html", summary.evaluation_folders(ablation, values)
            write_report(runs, out, title=ablation.title, completions=COMPLETIONS, evaluation_folders=asked)
    print(json.dumps(data, ensure_ascii=False) if args.json else "\n".join(map(text, made)))
    if write and not args.json:
        print(f"written to {ablation.output_dir}: results.json, table.md, report.html")
