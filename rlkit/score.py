"""`rlkit score`: what completions that already exist would earn, whatever framework wrote them.

Streams a JSONL file in the record layout through a reward, over several processes where that pays; knows no model
and no formula.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from rewards.compose import Score, Weighted
from rewards.config import from_config
from rewards.errors import RewardError, RowError
from rewards.presets import PRESETS
from rewards.sample import Sample
from rlkit.config import read_yaml
from rlkit.data.jsonl import normalise
from rlkit.errors import ConfigError, DataError, nearest

CHUNK_BYTES = 512 * 1024  # what a worker scores at a time; memory stays within a few of these for each process
POOL_BYTES = 4 * 1024 * 1024  # below this a pool takes longer to start than the file takes to score
MAX_LISTED = 20


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
        lines.append(f"{'total':<{width}}  {'':>7}  {_figure(self.total):>7}  (the most these rows allow: {_figure(self.maximum)})")
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
    if not path.is_file():
        close = nearest(spec, PRESETS)
        raise ConfigError(f"--rewards {spec}: neither a preset ({', '.join(PRESETS)}) nor a file.{close}")
    config = read_yaml(path.read_text(encoding="utf-8"), spec)
    if not isinstance(config, dict) or not config.get("rewards"):
        has = ", ".join(map(str, config)) if isinstance(config, dict) else type(config).__name__
        raise ConfigError(f"{spec}: has no section rewards: (it has: {has}); name the parts there, e.g. rewards: care.")
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
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}, but must be at least 1.")
    if workers is None:
        workers = _cores() if path.stat().st_size >= POOL_BYTES else 1
    tally = _Tally(list(reward.parts))
    with _written_at_once(Path(out) if out is not None else None) as target:
        done_bytes = 0
        for chunk in _scored_chunks(path, reward, workers, skip_bad, target is not None):
            if target is not None:
                target.write(chunk.lines)
            tally.add(chunk.tally)
            done_bytes += chunk.size
            if progress is not None:
                progress(done_bytes)
    if not tally.rows and not tally.bad:
        raise DataError(f"{path}: holds no line to score.")
    return tally.report(reward)


@dataclass
class _Tally:
    """Sums that add up from chunk to chunk."""

    names: list[str]
    rows: int = 0
    totals: list[float] = field(default_factory=list)
    maximum: float = 0.0
    bad: int = 0
    bad_lines: list[str] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    first_errors: dict[str, str] = field(default_factory=dict)
    scored: int = 0
    total: float = 0.0
