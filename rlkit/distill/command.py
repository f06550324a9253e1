"""`rlkit distill`: SFT data in the CARE format, and a table of what was kept, what was rejected and what it cost."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rlkit.distill.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="CONFIG", help="a YAML file, see configs/distill")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. sources.hotpotqa.limit=100")


def main(args: argparse.Namespace) -> int:
    settings = load_settings(args.recipe, args.overrides)
    from rlkit.distill.pipeline import distill  # after the config, which is wrong more often and sooner

    with _bars() as progress:
        found = distill(settings, progress=progress)
    from rich.table import Table

    from rlkit.console import standard_output

    console = standard_output()
    for title, head, rows in found.tables():
        table = Table(*head, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    asked = ", ".join(f"{count:,} of the {stage}" for stage, count in found.new.items())
    console.print(f"answers that this start asked for: {asked}", markup=False)
    console.print(f"{found.kept:,} rows in {Path(settings.output_dir) / 'rows.jsonl'}", markup=False)
    if found.unanswered:
        console.print(f"{found.unanswered:,} records got no answer; the same command asks them again", markup=False)
    return 1 if found.unanswered else 0


@contextlib.contextmanager
def _bars() -> Iterator[Callable[[str, int], None]]:
    """Counts of answers on standard error where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda stage, answers: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}: {task.completed:,} answers"), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def show(stage: str, answers: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=None)
            bar.update(tasks[stage], completed=answers)

        yield show
