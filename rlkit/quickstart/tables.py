"""How a quickstart shows its results: one table, and a few completions with what they rest on marked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlkit.data.record import Record
from rlkit.prompts import prompt_of
from rlkit.quickstart.world import Metrics, World

NAMES = {"base": "base", "sft": "SFT", "more_sft": "more SFT", "grpo": "GRPO", "gold": "gold"}
ANSWERING = ("base", "sft", "more_sft", "grpo")


def print_table(console: Console, world: World, table: Mapping[str, Mapping[str, Metrics]]) -> None:
    """Print one line for each model and level."""
    shown = Table(title=world.title)
    for name in ("model", "level"):
        shown.add_column(name)
    for name in world.columns:
        shown.add_column(name, justify="right")
    for model, levels in table.items():
        for number, (level, metrics) in enumerate(levels.items()):
            shown.add_row(
                NAMES[model] if number == 0 else "",
                level,
                *(column.format_map(metrics) for column in world.columns.values()),
                end_section=number == len(levels) - 1,
            )
    console.print(shown)


def print_samples(console: Console, world: World, folder: Path, level: str = "hard") -> None:
    """Print one question for each outcome of SFT and GRPO: first right only after GRPO, last right only before."""
    answers = {model: _read(folder / f"{model}-{level}.jsonl") for model in ANSWERING}
    right = {model: [world.is_right(record) for record in records] for model, records in answers.items()}
    outcomes = list(zip(right["sft"], right["grpo"], strict=True))
    for wanted in ((False, True), (True, True), (False, False), (True, False)):
        if wanted in outcomes:
            number = outcomes.index(wanted)
            print_sample(console, world, {model: records[number] for model, records in answers.items()})


def print_sample(console: Console, world: World, answers: Mapping[str, Record]) -> None:
    """Print a question and its prompt with what decides it marked, and what each model answers."""
    record = next(iter(answers.values()))
    marks = world.marks(record)
    prompt = " ".join(prompt_of(record, system=None)[-1]["content"].rpartition("Question:")[0].split())
    console.print(Text.assemble("\n", (record["question"], "bold"), f"  (gold: {record['golds'][0]})"))
    console.print(Text.assemble("  ", marked(prompt, marks)))
    for model, answer in answers.items():
        sign = ("✓", "green") if world.is_right(answer) else ("✗", "red")
        text = " ".join(answer["completion"].split())
        console.print(Text.assemble(sign, (f" {NAMES[model]:<9}", "bold"), marked(text, marks)))


def _read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def marked(text: str, parts: Sequence[str]) -> Text:
    """The text with every one of the parts in it underlined."""
    shown = Text(text)
    shown.highlight_words(parts, "green underline")
    return shown
