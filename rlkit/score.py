"""`rlkit score`: what completions that already exist would earn, whatever framework wrote them.

Streams a JSONL file in the record layout through a reward, over several processes where that pays; knows no model
and no formula.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rewards.compose import Score, Weighted
from rewards.config import from_config
from rewards.errors import RewardError, RowError
from rewards.presets import PRESETS
from rewards.sample import Sample
from rlkit.data.jsonl import normalise
from rlkit.errors import ConfigError, DataError, nearest
from rlkit.streams import appears_when_done, cores, map_lines
from rlkit.yaml_files import read_yaml_file

POOL_BYTES = 4 * 1024 * 1024  # below this a pool takes longer to start than the file takes to score
MAX_LISTED = 20
MAX_WORKERS_A_CORE = 4


@dataclass
class PartReport:
    """What one part gave: `mean` is over the rows where it gave a number."""

    weight: float
    mean: float | None = None
    not_applicable: int = 0
    errors: int = 0
    first_error: str | None = None


@dataclass
class ScoreReport:
    """What a file earned: means over its rows, parts by name, and the malformed lines that were left out."""

    rows: int
    total: float | None
    maximum: float | None
    parts: dict[str, PartReport]
    bad: int
    bad_lines: list[str]

    def __str__(self) -> str:
        width = max([5, *map(len, self.parts)])
        lines = [f"{'part':<{width}}  {'weight':>7}  {'mean':>7}  {'not applicable':>14}  {'errors':>6}"]
        for name, part in self.parts.items():
            lines.append(
                f"{name:<{width}}  {part.weight:>7.3g}  {_figure(part.mean):>7}  {part.not_applicable:>14,}  {part.errors:>6,}"
            )
        lines.append(
            f"{'total':<{width}}  {'':>7}  {_figure(self.total):>7}  (the most these rows allow: {_figure(self.maximum)})"
        )
        lines += [f"first error of {name}: {p.first_error}" for name, p in self.parts.items() if p.first_error]
        lines.append(f"{self.rows:,} rows scored" + (f", {self.bad:,} malformed lines left out:" if self.bad else ""))
        lines += [f"  {line}" for line in self.bad_lines]
        if self.bad > len(self.bad_lines):
            lines.append(f"  and {self.bad - len(self.bad_lines):,} more")
        return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="JSON lines in the record layout, each with a completion")
    parser.add_argument(
        "--rewards", required=True, help=f"{', '.join(PRESETS)}, or a YAML file with a section rewards:"
    )
    parser.add_argument("--out", type=Path, help="write each line back here with its score")
    parser.add_argument("--skip-bad", action="store_true", help="count and list malformed lines instead of stopping")
    parser.add_argument("--workers", type=int, help="processes (default: one a core for large files)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def main(args: argparse.Namespace) -> int:
    reward = load_reward(args.rewards)
    with _progress_bar(args.file) as progress:
        report = score_file(
            args.file, reward, args.out, skip_bad=args.skip_bad, workers=args.workers, progress=progress
        )
    print(json.dumps(asdict(report), ensure_ascii=False) if args.json else report)
    if args.out and not args.json:
        print(f"written to {args.out}")
    return 0


def load_reward(spec: str) -> Weighted:
    """The reward of a preset's name or of the section `rewards:` in a YAML file; raises `ConfigError` or `RewardError`."""
    if spec in PRESETS:
        return PRESETS[spec]()
    path = Path(spec)
    if not path.exists():
        close = nearest(spec, PRESETS)
        raise ConfigError(f"--rewards {spec}: neither a preset ({', '.join(PRESETS)}) nor a file.{close}")
    config = read_yaml_file(path)
    if not isinstance(config, dict) or not config.get("rewards"):
        has = ", ".join(map(str, config)) if isinstance(config, dict) else f"a {type(config).__name__}"
        has = f"it has: {has}" if config else "it is empty"
        raise ConfigError(f"{spec}: has no section rewards: ({has}); name the parts there, e.g. rewards: care.")
    return from_config(config["rewards"], path=f"{spec}: rewards")


def score_file(
    path: str | Path,
    reward: Weighted,
    out: str | Path | None = None,
    *,
    skip_bad: bool = False,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ScoreReport:
    """Score every line of a JSONL file in the record layout, in bounded memory, and keep the order.

    With `out`, each line is written back with `"score": {"total", "maximum", "parts"}` added and otherwise untouched;
    the file appears only when all is done. `progress` is called with the bytes read so far. Raises `DataError` with
    `file:line` for a line that cannot be scored (`skip_bad` leaves malformed ones out and lists them) and for a reward
    that fails on one.
    """
    path = Path(path)
    _check_readable(path)
    most = MAX_WORKERS_A_CORE * cores()
    if workers is not None and not 1 <= workers <= most:
        raise ConfigError(
            f"workers is {workers}, but must be from 1 to {most} on this machine of {cores()} cores: more processes only "
            "wait for one another; leave it out for one a core."
        )
    if workers is None:
        workers = cores() if path.stat().st_size >= POOL_BYTES else 1
    tally = _Tally(reward.parts)
    work = partial(_score_lines, str(path), reward, skip_bad)
    with appears_when_done(Path(out) if out is not None else None) as target:
        for size, (lines, found) in map_lines(path, work, workers):
            if target is not None:
                target.write(lines)
            tally.add(found)
            if progress is not None:
                progress(size)
        if not tally.rows and not tally.bad:
            raise DataError(f"{path}: holds no line to score.")
    return tally.report(reward)


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path}: is a directory, but must be a file of JSON lines; name a file in it.")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    if zipped:
        raise DataError(f"{path}: is compressed, but lines are scored as they stand; unzip it first: gunzip -k {path}")


@dataclass
class _Column:
    """Sum and count of one number over many rows."""

    sum: float = 0.0
    count: int = 0
    errors: int = 0
    first_error: str | None = None

    def add(self, other: _Column) -> None:
        self.sum += other.sum
        self.count += other.count
        self.errors += other.errors
        self.first_error = self.first_error or other.first_error

    @property
    def mean(self) -> float | None:
        return self.sum / self.count if self.count else None


class _Tally:
    """What the rows so far earned; tallies of chunks add up."""

    def __init__(self, names: Iterable[str]) -> None:
        self.rows = self.bad = 0
        self.bad_lines: list[str] = []
        self.total, self.maximum = _Column(), _Column()
        self.parts = {name: _Column() for name in names}

    def see(self, score: Score) -> None:
        self.rows += 1
        self.maximum.add(_Column(score.maximum, 1))
        if score.total is not None:
            self.total.add(_Column(score.total, 1))
        for name, value in score.parts.items():
            if value is not None:
                self.parts[name].add(_Column(value, 1))
            elif name in score.errors:
                self.parts[name].add(_Column(errors=1, first_error=score.errors[name]))

    def reject(self, line: str) -> None:
        self.bad += 1
        self.bad_lines = [*self.bad_lines, line][:MAX_LISTED]

    def add(self, other: _Tally) -> None:
        self.rows += other.rows
        self.bad += other.bad
        self.bad_lines = [*self.bad_lines, *other.bad_lines][:MAX_LISTED]
        self.total.add(other.total)
        self.maximum.add(other.maximum)
        for name, column in other.parts.items():
            self.parts[name].add(column)

    def report(self, reward: Weighted) -> ScoreReport:
        parts = {
            name: PartReport(reward.weights[name], c.mean, self.rows - c.count - c.errors, c.errors, c.first_error)
            for name, c in self.parts.items()
        }
        return ScoreReport(self.rows, self.total.mean, self.maximum.mean, parts, self.bad, self.bad_lines)


def _score_lines(path: str, reward: Weighted, skip_bad: bool, first: int, lines: list[bytes]) -> tuple[bytes, _Tally]:
    """The lines as they are written back, and what they earned; `first` is the number of the first line."""
    tally = _Tally(reward.parts)
    written = []
    for number, line in enumerate(lines, first):
        text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
        if not text:
            continue
        where = f"{path}:{number}"
        try:
            row = parse_line(text, where)
            sample = sample_of(row, where)
            score = _earned(reward, sample, where)
        except DataError as error:
            if not skip_bad or isinstance(error, _RewardFailed):
                raise
            tally.reject(str(error))
            continue
        tally.see(score)
        written.append(_with_score(text, row, score))
    return b"".join(written), tally


class _RewardFailed(DataError):
    """The reward's own code is at fault, not the line, so that leaving the line out would hide it."""


def parse_line(text: bytes, where: str) -> dict[str, Any]:
    """The object of one line of a file; raises `DataError` that begins with `where`."""
    try:
        if b"\0" in text:  # JSON text never holds one; UTF-16, which `json.loads` would guess at, always does
            raise DataError(f"{where}: not UTF-8 text (it holds a zero byte); save the file as UTF-8.")
        row = json.loads(text.decode("utf-8", "surrogatepass"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text ({error.reason}); save the file as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not a line of JSON: {error}; each line must be one whole object.") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: holds {type(row).__name__}, but each line must be an object with a completion.")
    return row


def sample_of(row: dict[str, Any], where: str) -> Sample:
    """The sample of a row with a completion; raises `DataError` that begins with `where`."""
    if not isinstance(row.get("completion"), str):
        has = f"is {row['completion']!r:.60}" if "completion" in row else "is missing"
        raise DataError(
            f"{where}: 'completion' {has}, but must be the text to score; the columns here are {', '.join(row)}."
        )
    try:
        return Sample.from_record(normalise(row, where))
    except RowError as error:
        raise DataError(f"{where}: {error}") from error


def _earned(reward: Weighted, sample: Sample, where: str) -> Score:
    try:
        return reward(sample)
    except RowError as error:
        raise DataError(f"{where}: {error}") from error
    except RewardError as error:
        raise _RewardFailed(f"{where}: {error}") from error


def _with_score(text: bytes, row: dict[str, Any], score: Score) -> bytes:
    """The line with its score; spliced in where it can be, so that all else stays byte for byte what it was."""
    earned = {"total": score.total, "maximum": score.maximum, "parts": dict(score.parts)}
    if "score" in row:
        return json.dumps({**row, "score": earned}).encode() + b"\n"
    return text[:-1].rstrip() + b', "score": ' + json.dumps(earned, ensure_ascii=False).encode() + b"}\n"


@contextlib.contextmanager
def _progress_bar(path: Path) -> Iterator[Callable[[int], None] | None]:
    """A bar on standard error where that is a terminal."""
    if not sys.stderr.isatty() or not path.is_file():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    # Without a refreshing thread: the worker processes are forked while the bar is up.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task(f"scoring {path.name}", total=path.stat().st_size)

        def show(size: int) -> None:
            bar.update(task, completed=size)
            bar.refresh()

        yield show


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
