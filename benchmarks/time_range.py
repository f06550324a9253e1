"""How well question time ranges are predicted: on annotated Time-Dialog questions, in two halves.

    python benchmarks/time_range.py [RANGES.json] [--margin-days 1] [--misses 10]

A predicted range contains the annotated one when each known annotated bound lies inside; a predicted bound that is
unknown contains everything on its side. An annotated bound that is unknown reaches without end, so *strictly* only an
unknown predicted bound contains it; strict figures stand in a column of their own. Days are compared, not times. The
width ratio is the predicted width over the annotated width in days (both count their first and last day), over the
questions for which all four bounds are known. Rules were written while looking at half A only; a question belongs to
half A if the first byte of the SHA-256 of its id is even. Nothing here knows when the questions were asked, so relative
expressions stay unread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from datetime import date
from pathlib import Path
from typing import Any

from rlkit.memory.time_range import Predictor, TimeRange, rule_based

RANGES = Path(__file__).resolve().parents[1] / "../shared/data/time_dialog_question_ranges.json"
BOUNDS = {2: "two known bounds", 1: "one known bound", 0: "no known bound"}


def read_annotated(path: Path) -> dict[str, tuple[str, TimeRange]]:
    """Question and annotated range by id, as days; "unknown" is `None`."""
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    annotated = {}
    for name, row in rows.items():
        start, end = (row["question_time_range"][side] for side in ("start", "end"))
        annotated[name] = row["question"], (_day(start), _day(end))
    return annotated


def _day(bound: str) -> str | None:
    return None if bound == "unknown" else bound[:10]


def contains(predicted: TimeRange, annotated: TimeRange) -> bool:
    """Whether the known annotated bounds lie in the predicted range."""
    start, end = predicted
    low, high = annotated
    known = [day for day in (low, high) if day]
    return all((start is None or start <= day) and (end is None or day <= end) for day in known)


def contains_strictly(predicted: TimeRange, annotated: TimeRange) -> bool:
    """The same, with an unknown annotated bound as a range without end."""
    unbounded = all(known or not guess for guess, known in zip(predicted, annotated, strict=True))
    return unbounded and contains(predicted, annotated)


def width_days(bounds: TimeRange) -> int | None:
    """Days from first to last, both counted."""
    start, end = bounds
    return (date.fromisoformat(end) - date.fromisoformat(start)).days + 1 if start and end else None


def measure(rows: list[tuple[TimeRange, TimeRange]]) -> str:
    """One line of the table: share contained, strictly, with any prediction, with both bounds; median width ratio."""
    if not rows:
        return "none"
    shares = [
        sum(contains(guess, known) for guess, known in rows),
        sum(contains_strictly(guess, known) for guess, known in rows),
        sum(any(guess) for guess, _ in rows),
        sum(all(guess) for guess, _ in rows),
    ]
    widths = [(width_days(guess), width_days(known)) for guess, known in rows]
    ratios = [guess / known for guess, known in widths if guess and known and known > 0]
    ratio = f"{statistics.median(ratios):6.2f} of {len(ratios):4}" if ratios else "     -"
    return f"{len(rows):5} " + " ".join(f"{share / len(rows):9.3f}" for share in shares) + f"   {ratio}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", nargs="?", type=Path, default=RANGES)
    parser.add_argument("--margin-days", type=int, default=rule_based().margin_days)
    parser.add_argument("--misses", type=int, default=0, help="how many questions of half A to show that miss")
    options = parser.parse_args()
    if not options.path.exists():
        raise SystemExit(f"{options.path} does not exist; give the path of time_dialog_question_ranges.json.")
    annotated = read_annotated(options.path)
    predict: Predictor = rule_based(options.margin_days)
    started = time.perf_counter()
    guesses = {name: predict(question, None) for name, (question, _) in annotated.items()}
    seconds = time.perf_counter() - started
    half = {name: "BA"[hashlib.sha256(name.encode()).digest()[0] % 2 == 0] for name in annotated}
    print(f"rule_based(margin_days={options.margin_days}): {1e6 * seconds / len(annotated):.0f} us a question")
    print("half  annotated with       n  contains    strict  predicted  two-sided  median width ratio")
    for which in ("A", "B", "AB"):
        names = [name for name in annotated if half[name] in which]
        for known, title in BOUNDS.items():
            rows = [
                (guesses[name], annotated[name][1]) for name in names if sum(map(bool, annotated[name][1])) == known
            ]
            print(f"{which:4}  {title:17} {measure(rows)}")
        print(f"{which:4}  {'all':17} {measure([(guesses[name], annotated[name][1]) for name in names])}")
    missed = [name for name in annotated if half[name] == "A" and not contains(guesses[name], annotated[name][1])]
    for name in missed[: options.misses]:
        print(
            name,
            annotated[name][0][:200].replace("\n", " "),
            "annotated",
            annotated[name][1],
            "predicted",
            guesses[name],
        )


if __name__ == "__main__":
    main()
