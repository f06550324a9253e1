"""Candidate sessions: evidence recall of each stage on LoCoMo, and what a kept index saves against building one a question.

python benchmarks/candidates.py [--locomo ../shared/data/locomo.json] [--budget-tokens 16000]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean
from typing import Any

from rank_bm25 import BM25Okapi

from rlkit.data import locomo
from rlkit.data.layout import Report
from rlkit.data.record import Record
from rlkit.memory.candidates import Candidates
from rlkit.memory.retriever import Index, rank

MEMORY_SESSIONS = 272  # all sessions of LoCoMo's ten conversations
PASSES = 7
MARGINS_DAYS = (0, 3, 7, 14, 30)
LARGE_SESSIONS = (500, 1000, 2000, 5000, 10_000)


def count_tokens(text: str) -> int:
    """About what a BPE tokenizer counts in English: four tokens for three words."""
    return len(text.split()) * 4 // 3


def found(records: Sequence[Record], options: Candidates) -> list[float]:
    """The share of each record's gold sessions that is among its candidates."""
    shares = []
    for record in records:
        shown, _ = options.apply(record, count_tokens)
        shares.append(len(shown["evidence"]) / len(record["evidence"]))
    return shares


def print_recall(records: Sequence[Record], budget_tokens: int) -> None:
    every = Candidates(top_k=None, budget_tokens=None)
    stages = {
        "time range (rules, 7 days)": every,
        "then BM25, top 10": replace(every, top_k=10),
        f"then {budget_tokens:,} tokens": Candidates(budget_tokens=budget_tokens),
        "BM25 alone, top 10": replace(every, time_range="none", top_k=10),
        "BM25 alone, top 5": replace(every, time_range="none", top_k=5),
        "the latest 10 sessions": None,
    }
    names = list(locomo.SUBTASKS.values())
    counts = [sum(record["subtask"] == name for record in records) for name in names]  # type: ignore[typeddict-item]
    print(f"evidence recall on LoCoMo, {len(records):,} questions with labelled sessions")
    print(f"{'stage':<28}" + "".join(f"{name:>13}" for name in names) + f"{'all':>8}")
    print(f"{'questions':<28}" + "".join(f"{count:>13,}" for count in counts) + f"{len(records):>8,}")
    for stage, options in stages.items():
        shares = found(records, options) if options else [latest(record) for record in records]
        means = [
            fmean(share for share, r in zip(shares, records, strict=True) if r["subtask"] == name) for name in names
        ]  # type: ignore[typeddict-item]
        print(f"{stage:<28}" + "".join(f"{mean:>13.3f}" for mean in means) + f"{fmean(shares):>8.3f}")
    print("\nmargin, days  questions with a range  sessions left of theirs  gold sessions lost, in questions")
    for days in MARGINS_DAYS:
        options = replace(every, margin_days=days)
        ranged = [told for record in records if (told := options.apply(record, None)[1]).time_range]
        left = fmean(len(told.ranked) / (len(told.ranked) + len(told.lost.get("time_range", ()))) for told in ranged)
        lost = sum(1 - share for share in found(records, options))
        print(f"{days:>12}  {len(ranged):>22,}  {left:>23.0%}  {lost:>33.1f}")
    print()


def latest(record: Record) -> float:
    """The recall of showing the ten latest sessions, whatever is asked."""
    names = {session["id"] for session in record["sessions"][-10:]}
    return len(names & set(record["evidence"])) / len(record["evidence"])


def print_kept_index(memory: Sequence[Mapping[str, Any]], questions: Sequence[str]) -> None:
    def as_released(question: str) -> None:
        texts = [" ".join(said["text"] for said in session["utterances"]).split() for session in memory]
        BM25Okapi(texts).get_scores(question.split())

    rank(memory, questions[0])
    kept = milliseconds(lambda question: rank(memory, question), questions)
    rebuilt = milliseconds(lambda question: Index(memory).rank(question), questions[:5])
    released = milliseconds(as_released, questions[:5])
    print(f"a question to {len(memory)} sessions, ms of processor time (best of {PASSES} passes)")
    print(f"  index kept for the memory             {kept:8.2f}")
    print(f"  the same index built for the question {rebuilt:8.2f}   {rebuilt / kept:6.0f} times as long")
    print(f"  Okapi over blank-split words, built   {released:8.2f}   {released / kept:6.0f} times as long\n")


def print_backends(base: Sequence[Mapping[str, Any]], questions: Sequence[str]) -> None:
    if importlib.util.find_spec("bm25s") is None:
        print("bm25s is not installed, so the backends are not compared; pip install bm25s")
        return
    print(f"{'sessions':>8}  {'build, ms: rank_bm25':>20}  {'bm25s':>8}  {'question, ms: rank_bm25':>23}  {'bm25s':>8}")
    for size in LARGE_SESSIONS:
        memory = list(islice(cycle(base), size))
        figures = []
        for backend in ("rank_bm25", "bm25s"):
            start = time.process_time()
            index = Index(memory, backend)
            built = (time.process_time() - start) * 1000
            figures.append((built, milliseconds(index.rank, questions[:20])))
        (built, slow), (built_fast, fast) = figures
        print(f"{size:>8,}  {built:>20,.0f}  {built_fast:>8,.0f}  {slow:>23.2f}  {fast:>8.2f}")


def milliseconds(answer: Callable[[str], object], questions: Sequence[str]) -> float:
    """The mean processor time of an answer in the fastest pass."""
    passes = []
    for _ in range(PASSES):
        start = time.process_time()
        for question in questions:
            answer(question)
        passes.append((time.process_time() - start) / len(questions) * 1000)
    return min(passes)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--locomo", type=Path, default=Path("../shared/data/locomo.json"))
    parser.add_argument("--budget-tokens", type=int, default=16_000)
    args = parser.parse_args()
    if not args.locomo.is_file():
        parser.exit(2, f"{args.locomo}: there is no such file; give LoCoMo's original release with --locomo.\n")
    conversations = json.loads(args.locomo.read_text(encoding="utf-8"))
    records = [record for row in conversations for record in locomo.records(row, Report(), str(args.locomo))]
    labelled = [record for record in records if record["evidence"]]
    print_recall(labelled, args.budget_tokens)
    memories = {record["memory"]: record["sessions"] for record in records}  # type: ignore[typeddict-item]
    base = [session for sessions in memories.values() for session in sessions]
    questions = [record["question"] for record in records[::23]]
    print_kept_index(list(islice(cycle(base), MEMORY_SESSIONS)), questions)
    print_backends([shortened(session) for session in base], questions)


def shortened(session: Mapping[str, Any]) -> dict[str, Any]:
    """The first eight utterances, so that ten thousand sessions are indexed in seconds."""
    return {**session, "utterances": session["utterances"][:8]}


if __name__ == "__main__":
    main()
