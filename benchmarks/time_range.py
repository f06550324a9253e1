"""How well question time ranges are predicted: on annotated Time-Dialog questions, and by where LoCoMo's evidence lies.

    python benchmarks/time_range.py [FOLDER] [--margins 0 1 7 14] [--misses 10]

FOLDER holds `time_dialog_question_ranges.json` and `locomo.json` (default: ../shared/data beside the repository).

Time-Dialog: a predicted range contains the annotated one when each known annotated bound lies inside; a predicted bound
that is unknown contains everything on its side. An annotated bound that is unknown reaches without end, so *strictly*
only an unknown predicted bound contains it; strict figures stand in a column of their own. Days are compared, not
times. The width ratio is the predicted width over the annotated width in days (both count their first and last day),
over the questions for which all four bounds are known. Rules were written while looking at half A only; a question
belongs to half A if the first byte of the SHA-256 of its id is even.

LoCoMo: no range is annotated, but the evidence says in which sessions the answer stands; counted are the questions with
a prediction, and those of them whose evidence sessions all have their date in the predicted range. Its sessions carry no
events, so this is what the margin is for: people tell of a thing some days after it happened.

No file says when its questions were asked, so relative expressions stay unread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import statistics
import time
from datetime import date, datetime
from pathlib import Path
from typing import Any

from rlkit.generation.endpoint import Endpoint
from rlkit.memory.model_range import model_based
from rlkit.memory.time_range import Predictor, TimeRange, rule_based

FOLDER = Path(__file__).resolve().parents[1] / "../shared/data"
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
    ratio = "     -" if median_ratio(rows) is None else f"{median_ratio(rows):6.2f}"
    return f"{len(rows):5} " + " ".join(f"{share / len(rows):9.3f}" for share in shares) + f"   {ratio}"


def median_ratio(rows: list[tuple[TimeRange, TimeRange]]) -> float | None:
    """The median of predicted over annotated width, where both are known."""
    widths = [(width_days(guess), width_days(known)) for guess, known in rows]
    ratios = [guess / known for guess, known in widths if guess and known and known > 0]
    return statistics.median(ratios) if ratios else None


def evidence_inside(conversations: list[dict[str, Any]], predict: Predictor) -> tuple[int, int]:
    """How many questions have a prediction, and how many of those have all evidence sessions dated inside it."""
    predicted = inside = 0
    for memory in conversations:
        dates = {
            name.split("_")[1]: datetime.strptime(text.split(" on ")[1], "%d %B, %Y").date().isoformat()
            for name, text in memory["conversation"].items()
            if re.fullmatch(r"session_[0-9]+_date_time", name)
        }
        for row in memory["qa"]:
            named = {number for turn in row["evidence"] for number in re.findall(r"D([0-9]+):", turn)} & set(dates)
            guess = predict(row["question"], None)
            if named and any(guess):
                predicted += 1
                inside += all(contains(guess, (dates[number], dates[number])) for number in named)
    return predicted, inside


def print_halves(annotated: dict[str, tuple[str, TimeRange]], guesses: dict[str, TimeRange]) -> None:
    print("half  annotated with       n  contains    strict  predicted  two-sided  median width ratio")
    for which in ("A", "B", "AB"):
        names = [name for name in annotated if _half(name) in which]
        for known, title in BOUNDS.items():
            rows = [
                (guesses[name], annotated[name][1]) for name in names if sum(map(bool, annotated[name][1])) == known
            ]
            print(f"{which:4}  {title:17} {measure(rows)}")
        print(f"{which:4}  {'all':17} {measure([(guesses[name], annotated[name][1]) for name in names])}")


def _half(name: str) -> str:
    return "BA"[hashlib.sha256(name.encode()).digest()[0] % 2 == 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--margins", type=int, nargs="+", default=[0, 1, 7, 14], help="margins to compare, in days")
    parser.add_argument("--misses", type=int, default=0, help="how many questions of half A to show that miss")
    parser.add_argument("--base-url", help="measure a model behind this endpoint instead of the rules")
    parser.add_argument("--model", default="")
    parser.add_argument("--key-variable", help="name of the environment variable that holds the endpoint's key")
    parser.add_argument("--journal", type=Path, default=Path("time_ranges.jsonl"), help="where its answers are kept")
    options = parser.parse_args()
    ranges, locomo = (options.folder / name for name in ("time_dialog_question_ranges.json", "locomo.json"))
    if not ranges.exists() or not locomo.exists():
        raise SystemExit(f"{ranges} and {locomo} must exist; give the folder that holds them.")
    annotated = read_annotated(ranges)
    conversations = json.loads(locomo.read_text(encoding="utf-8"))

    if options.base_url:
        endpoint = Endpoint(options.base_url, options.model, options.key_variable, sampling={"temperature": 0})
        model = model_based(endpoint, options.journal)
        found = model.predict_all((question, None) for question, _ in annotated.values())
        guesses = dict(zip(annotated, found, strict=True))
        print(f"Time-Dialog, {model}: {dict(model.counts)}")
        print_halves(annotated, guesses)
        return
    predict = rule_based()
    started = time.perf_counter()
    guesses = {name: predict(question, None) for name, (question, _) in annotated.items()}
    seconds = time.perf_counter() - started
    print(f"Time-Dialog, {predict}: {1e6 * seconds / len(annotated):.0f} us a question")
    print_halves(annotated, guesses)
    missed = [name for name in annotated if _half(name) == "A" and not contains(guesses[name], annotated[name][1])]
    for name in missed[: options.misses]:
        question, known = annotated[name]
        print(name, question[:200].replace("\n", " "), "annotated", known, "predicted", guesses[name])

    two_known = [row for row in annotated.values() if all(row[1])]
    print("\nmargin  Time-Dialog, two known bounds: contains, width ratio   LoCoMo: evidence dated inside")
    for margin_days in options.margins:
        predict = rule_based(margin_days)
        rows = [(predict(question, None), known) for question, known in two_known]
        share = sum(contains(guess, known) for guess, known in rows) / len(rows)
        predicted, inside = evidence_inside(conversations, predict)
        ratio = median_ratio(rows)
        print(f"{margin_days:6}  {share:39.3f} {ratio:13.2f}   {inside} of {predicted} = {inside / predicted:.3f}")


if __name__ == "__main__":
    main()
