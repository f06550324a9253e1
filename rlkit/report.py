"""`rlkit report`: one HTML file that shows what runs were, how they went, and every logged completion with its evidence."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from rlkit import __version__
from rlkit.errors import ConfigError, RlkitError
from rlkit.reporting.completions import Browser
from rlkit.reporting.curves import charts_of
from rlkit.reporting.facts import differing, evaluations, facts_of
from rlkit.reporting.folders import read_folders
from rlkit.reporting.page import is_report, page
from rlkit.streams import appears_when_done

MAX_COMPLETIONS = 50_000
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder; several are overlaid")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the file to write (report.html)")
    parser.add_argument("--title", help="instead of the names of the runs")
    parser.add_argument(
        "--completions",
        type=int,
        default=MAX_COMPLETIONS,
        metavar="N",
        help=f"at most so many of each run, whole groups evenly over it ({MAX_COMPLETIONS:,}; 0 = none)",
    )
    parser.add_argument(
        "--evaluation",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="further evaluations; those in RUN/evaluation are found",
    )
    parser.add_argument(
        "--own-parts",
        action="store_true",
        help="import the reward parts that the configs name as module:attribute, so that they can say their reasons",
    )


def main(args: argparse.Namespace) -> int:
    out = write_report(
        args.runs,
        args.out,
        title=args.title,
        completions=args.completions,
        evaluation_folders=args.evaluation,
        own_parts=args.own_parts,
    )
    print(out)
    return 0


def write_report(
    runs: Sequence[Path],
    out: Path = Path("report.html"),
    *,
    title: str | None = None,
    completions: int = MAX_COMPLETIONS,
    evaluation_folders: Sequence[Path] = (),
    own_parts: bool = False,
) -> Path:
    """Write the report of some runs to one file and return its path.

    It appears when it is complete. Raises `RunError` for a folder that is no run, `DataError` with file and line for a
    damaged one, and `RlkitError` where `out` is a file that is no report.
    """
    if completions < 0:
        raise ConfigError(f"--completions: is {completions}, but must be a number of at least 0.")
    if out.is_file() and not is_report(out):
        raise RlkitError(f"{out}: is a file that is no report, and is not overwritten; choose another --out.")
    folders = read_folders(runs, own_parts=own_parts)
    browser = Browser()
    notes = []
    for number, folder in enumerate(folders):
        note = browser.add_run(number, folder, completions) if completions else None
        if note is not None:
            notes.append(note)
    charts = charts_of(folders, browser)
    tables, complaints = evaluations(folders, evaluation_folders)
    name = title or ", ".join(folder.label for folder in folders)
    report = {
        "title": name,
        "version": __version__,
        "runs": [facts_of(folder) for folder in folders],
        "differing": differing(folders) if len(folders) > 1 else [],
        "charts": charts,
        "evaluations": tables,
        "notes": [*notes, *complaints],
        "completions": len(browser),
    }
    with appears_when_done(out) as file:
        if file is None:
            raise RlkitError(f"{out}: cannot be written.")
        stores = (browser.texts, browser.told, browser.rows)
        pages = (element for store in stores for element in store.elements())
        for piece in page(name, report, browser.index(), pages):
            file.write(piece.encode())
    runs_told = "1 run" if len(folders) == 1 else f"{len(folders)} runs"
    _log.info("%s, %s completions, %.1f MB", runs_told, f"{len(browser):,}", out.stat().st_size / 1e6)
    return out
