"""How the quickstart shows its results: one table, and a few completions with their evidence marked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rewards import Sample, exact_match
from rlkit.data.record import Record

Metrics = Mapping[str, float | int]
NAMES = {"base": "base", "sft": "SFT", "more_sft": "more SFT", "grpo": "GRPO"}
COLUMNS = {
    "em": "EM",
    "f1": "F1",
    "format": "format",
    "grounding": "grounding",
    "evidence_recall": "evidence recall",
}


def print_table(console: Console, table: Mapping[str, Mapping[str, Metrics]]) -> None:
    """Print one line for each model and level."""
    shown = Table(title="Held-out contexts, greedy decoding")
    for name in ("model", "level"):
        shown.add_column(name)
    for name in (*COLUMNS.values(), "words quoted / needed", "rows"):
        shown.add_column(name, justify="right")
    for model, levels in table.items():
        for number, (level, metrics) in enumerate(levels.items()):
            shown.add_row(
                NAMES[model] if number == 0 else "",
                level,
                *(f"{metrics[key]:.3f}" for key in COLUMNS),
                f"{metrics['quoted_words']:.1f} / {metrics['gold_words']:.1f}",
                str(metrics["n"]),
                end_section=number == len(levels) - 1,
            )
    console.print(shown)


def print_samples(console: Console, folder: Path, level: str = "hard") -> None:
    """Print one question for each outcome of SFT and GRPO: first right only after GRPO, last right only before."""
    answers = {model: _read(folder / f"{model}-{level}.jsonl") for model in NAMES}
    right = {model: [_is_right(record) for record in records] for model, records in answers.items()}
    outcomes = list(zip(right["sft"], right["grpo"], strict=True))
    for wanted in ((False, True), (True, True), (False, False), (True, False)):
        if wanted in outcomes:
            number = outcomes.index(wanted)
            print_sample(console, {model: records[number] for model, records in answers.items()})


def print_sample(console: Console, answers: Mapping[str, Record]) -> None:
    """Print a question and its context with the evidence marked, and what each model answers."""
    record = next(iter(answers.values()))
    evidence = record["evidence"]
    console.print(Text.assemble("\n", (record["question"], "bold"), f"  (gold: {record['golds'][0]})"))
    console.print(Text.assemble("  ", marked(" ".join(passage["text"] for passage in record["context"]), evidence)))
    for model, answer in answers.items():
        sign = ("✓", "green") if _is_right(answer) else ("✗", "red")
        text = " ".join(answer["completion"].split())
        console.print(Text.assemble(sign, (f" {NAMES[model]:<9}", "bold"), marked(text, evidence)))


def _read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _is_right(record: Record) -> bool:
    return exact_match()(Sample.from_record(record)) == 1.0


def marked(text: str, evidence: Sequence[str]) -> Text:
    """The text with every piece of evidence in it underlined."""
    shown = Text(text)
    shown.highlight_words(evidence, "green underline")
    return shown
