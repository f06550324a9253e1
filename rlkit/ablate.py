"""`rlkit ablate`: variants of one training, each over several seeds, and one table with intervals.

The command line of `rlkit.ablation`; knows options and printing alone.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rlkit.errors import ConfigError, nearest

if TYPE_CHECKING:
    from rlkit.ablation.jobs import Job
    from rlkit.ablation.results import Results
    from rlkit.ablation.running import Outcome
    from rlkit.ablation.settings import Ablation

COMPLETIONS = 200  # of each run, in the report
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", default="", help="a YAML file with seeds:, variants:, evaluate:; see configs/ablate/")  # fmt: skip
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. output_dir=runs/mine")
    parser.add_argument("--seeds", type=int, nargs="+", help="these in place of the file's")
    parser.add_argument("--only", nargs="+", default=[], metavar="VARIANT", help="these variants alone")
    parser.add_argument("--jobs", type=int, help="how many run at a time (default: one a GPU, or one a core)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    reading = parser.add_argument_group("reading what was measured")
    reading.add_argument("--show", action="store_true", help="the tables of what is done, without running anything")
    reading.add_argument("--from", dest="files", type=Path, nargs="+", metavar="FILE", help="the tables of one or several results.json, of other seeds each, in place of CONFIG")  # fmt: skip
    reading.add_argument("--metrics", nargs="+", metavar="NAME", help="figures to print (default: each suite's headline)")  # fmt: skip
    reading.add_argument("--out", type=Path, help="folder for results.json, table.md and plot.svg (default of a run: its output_dir)")  # fmt: skip
    reading.add_argument("--json", action="store_true", help="print the results as JSON")


def main(args: argparse.Namespace) -> int:
    from rlkit.ablation.jobs import check_files, check_trainings, done_jobs, jobs_of, seeds_there
    from rlkit.ablation.reading import load_ablation
    from rlkit.ablation.results import load, read
    from rlkit.ablation.summary import t_interval

    if args.out is not None:
        _check_folder(args.out)
    if args.files:
        idle = {args.config: args.config, "--seeds": args.seeds, "--only": args.only, "--jobs": args.jobs, "--dry-run": args.dry_run, "--show": args.show}  # fmt: skip
        for name, given in idle.items():
            if given not in (None, "", []) and given is not False:
                raise ConfigError(f"--from: reads files alone, so {name} means nothing beside it; leave one out.")
        _tell(load(args.files), args, args.out)
        return 0
    if args.show:
        for name, given in {"--only": args.only, "--jobs": args.jobs, "--dry-run": args.dry_run}.items():
            if given:
                raise ConfigError(f"--show: shows all that is done and runs nothing, so {name} means nothing beside it; leave one out.")  # fmt: skip
    if not args.config:
        raise ConfigError("rlkit ablate: name a config, before options that take several words (--only, --seeds, --metrics), or what was measured with --from FILE.")  # fmt: skip
    if args.jobs is not None and args.jobs < 1:
        raise ConfigError(f"--jobs: is {args.jobs}, but must be at least 1.")
    ablation = load_ablation(Path(args.config), args.overrides, args.seeds)
    for name in args.only:
        if name not in ablation.variants:
            raise ConfigError(f"--only: there is no variant {name!r}; there are {', '.join(ablation.variants)}.{nearest(name, ablation.variants)}")  # fmt: skip
    if args.metrics:
        _check_metrics(args.metrics, [metric for suite in ablation.evaluation()[1] for metric in suite.metrics])
    jobs = jobs_of(ablation, args.only)
    if not (args.seeds and args.show):  # what is there of other seeds stays in the results
        ablation = replace(ablation, seeds=tuple(sorted({*seeds_there(ablation), *ablation.seeds})))
    done = done_jobs(jobs_of(ablation))  # raises where figures are not those of this file's settings
    if args.dry_run:
        for job in jobs:
            print(f"# {job.name}{' (done)' if job.name in done else ''}\n{shlex.join(job.command)}")
        return 0
    t_interval([0.0, 1.0])  # what the tables need is missed before hours of training, not after them
    if not args.show:
        missing = [job for job in jobs if job.name not in done]
        check_files(missing, ablation.output_dir)
        check_trainings(ablation, missing)
    failed = 0 if args.show else _run(ablation, jobs, args.jobs)
    results = read(ablation, _command(args, ablation))
    if not any(run.figures for run in results.runs):
        raise ConfigError(
            f"{ablation.output_dir}: nothing is measured yet, so there is no table"
            + ("; leave out --show to run." if args.show else ": every training or its evaluation failed, see above.")
        )
    out = args.out or (None if args.show else ablation.output_dir)
    _tell(results, args, out)
    if not args.show:
        _report(ablation, results)
    return 1 if failed else 0


def _run(ablation: Ablation, jobs: list[Job], count: int | None) -> int:
    from rlkit.ablation.running import ended_by_signal, places_for, run_jobs
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
        _log.info("%d jobs, %d at a time", len(jobs), len(places))
        ended = run_jobs(jobs, places, on_event)
    return sum(outcome in ("failed", "not run") for outcome in ended.values())


def _command(args: argparse.Namespace, ablation: Ablation) -> str:
    """What makes these results, wherever they lie and however many run at a time."""
    changes = [change for change in args.overrides if not change.startswith("output_dir=")]
    return shlex.join(["rlkit", "ablate", args.config, *changes, "--seeds", *map(str, ablation.seeds)])


def _report(ablation: Ablation, results: Results) -> None:
    from rlkit.ablation.jobs import evaluation_folder
    from rlkit.report import write_report

    folders = [ablation.folder(run.seed, run.stage) for run in results.runs if ablation.stages[run.stage].config]
    trained = [folder for folder in folders if (folder / "config.yaml").is_file()]  # those that failed as well
    if trained:
        asked = [evaluation_folder(ablation, run.seed, run.stage) for run in results.runs if run.figures]
        out = ablation.output_dir / "report.html"
        write_report(trained, out, title=ablation.title, completions=COMPLETIONS, evaluation_folders=asked)
        _log.info("written: %s", out)


def _check_folder(out: Path) -> None:
    """Raise before hours of training, not after them, where nothing could be written."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"--out: {there} is a file, but results go into a folder; name another one.")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"--out: nothing may be written into {there}; name another folder.")


def _check_metrics(asked: Iterable[str], known: Collection[str]) -> None:
    for name in asked:
        if name not in known:
            raise ConfigError(
                f"--metrics: {name!r} was not measured; there are {', '.join(known)}.{nearest(name, known)}"
            )


def _tell(results: Results, args: argparse.Namespace, out: Path | None) -> None:
    """Print the tables, and write them, their plot and the single figures into a folder where there is one."""
    from rlkit.ablation import results as files
    from rlkit.ablation import summary
    from rlkit.ablation.tables import tables
    from rlkit.evaluation.tables import markdown, text
    from rlkit.whole_files import write_text

    known = list(dict.fromkeys(figure.metric for run in results.runs for figure in run.figures))
    _check_metrics(args.metrics or (), known)
    metrics = args.metrics or [name for name in results.headlines if name in known] or known
    data = {**files.as_data(results), **summary.as_data(results)}
    if out is not None:  # first of all: everything else can be made of it later
        files.write(out / "results.json", data)
    made = tables(results, metrics)
    print(json.dumps(data, ensure_ascii=False) if args.json else "\n".join(map(text, made)))
    if out is None:
        return
    write_text(out / "table.md", "\n".join(map(markdown, made)))
    written = ["results.json", "table.md"]
    try:
        from rlkit.ablation.plot import plot

        write_text(out / "plot.svg", plot(results, metrics))
        written.append("plot.svg")
    except ConfigError as error:
        _log.warning("%s Then: rlkit ablate --from %s --out %s", error, out / "results.json", out)
    if not args.json:
        print(f"written to {out}: {', '.join(written)}")
