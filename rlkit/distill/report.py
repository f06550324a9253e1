"""The yield of a run: what was kept, what was rejected and why, how long and how quoted the rows are, what it cost.

Knows counts and how to show them; refuses to know how a row was made.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rewards.parse_care import END_RETRIEVAL, RETRIEVAL, parse_care
from rlkit.distill.steps import STAGES, UNANSWERED, Kept, Rejected

MAX_EXAMPLES = 3
SHOWN = 20_000  # characters of one text in the preview, so that it opens in any editor
_FENCE = re.compile(r"`{3,}")


@dataclass
class Spent:
    """What the answers of one stage cost; `cost` is in the currency of the prices."""

    answers: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def add(self, reply: Mapping[str, Any]) -> None:
        self.answers += 1
        self.retries += reply.get("retries", 0)
        self.prompt_tokens += reply["prompt_tokens"]
        self.completion_tokens += reply["completion_tokens"]


@dataclass
class Yield:
    """What became of every record. Equal runs give equal reports, however often they were interrupted.

    `records` and `kept_of` are by source, `rejected` by (stage, reason) with the ids of the first few. Lengths are in
    words, shares in characters.
    """

    records: dict[str, int]
    kept_of: Counter[str] = field(default_factory=Counter)
    rejected: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    rejected_rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    facts: int = 0
    aligned: int = 0
    spent: dict[str, Spent] = field(default_factory=lambda: {stage: Spent() for stage in STAGES})
    measures: dict[str, array[float]] = field(default_factory=dict)
    new: dict[str, int] = field(default_factory=dict)  # answers of this start alone; not in the report

    @property
    def kept(self) -> int:
        return sum(self.kept_of.values())

    @property
    def unanswered(self) -> int:
        """Records whose question the endpoint refused or failed to answer; the next start asks it again."""
        return sum(self.rejected_rows[stage, reason] for stage in STAGES for reason in UNANSWERED.values())

    def keep(self, source: str, row: Mapping[str, Any], outcome: Kept) -> None:
        self.kept_of[source] += 1
        self.facts += outcome.facts
        self.aligned += outcome.aligned
        output = parse_care(outcome.completion)
        think = (output.think or "").replace(RETRIEVAL, "").replace(END_RETRIEVAL, "")
        quoted = sum(map(len, output.spans))
        self._measure("words of prompt", sum(len(message["content"].split()) for message in row["prompt"]))
        self._measure("words of reasoning", len(think.split()))
        self._measure("words of answer", len((output.answer or "").split()))
        self._measure("quotes", len(output.spans))
        self._measure("quoted share of reasoning", quoted / max(1, len(think)))
        self._measure("quoted share of passages", quoted / max(1, sum(len(p["text"]) for p in row["context"])))

    def reject(self, record_id: str, outcome: Rejected) -> None:
        cause = outcome.stage, outcome.reason
        self.rejected_rows[cause] += 1
        examples = self.rejected.setdefault(cause, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(record_id)

    def price(self, prices: Mapping[str, Mapping[str, float]]) -> None:
        """Set the cost of each stage from the price of a million tokens."""
        for stage, spent in self.spent.items():
            price = prices[stage]
            cost = spent.prompt_tokens * price["prompt"] + spent.completion_tokens * price["completion"]
            spent.cost = round(cost / 1e6, 6)

    def causes(self) -> list[tuple[str, str, int]]:
        """(stage, reason, records), in the order of the stages, the most frequent reason first."""
        order = ["labels", *STAGES, "tagging"]
        rows = [(stage, reason, count) for (stage, reason), count in self.rejected_rows.items()]
        return sorted(rows, key=lambda row: (order.index(row[0]), -row[2], row[1]))

    def statistics(self) -> dict[str, dict[str, float]]:
        """Mean, least, median, 95th percentile and greatest value of each measure over the kept rows."""
        return {name: _statistics(values) for name, values in self.measures.items()}

    def to_dict(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "kept": {name: self.kept_of[name] for name in self.records},
            "rejected": [
                {"stage": stage, "reason": reason, "records": count, "examples": self.rejected[stage, reason]}
                for stage, reason, count in self.causes()
            ],
            "facts": self.facts,
            "facts_aligned": self.aligned,
            "statistics": self.statistics(),
            "spent": {stage: vars(spent) for stage, spent in self.spent.items()},
        }

    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """Title, head and rows of each table of the report, for the terminal and for Markdown."""
        total = sum(self.records.values())
        outcome = [["kept", "", f"{self.kept:,}", _percent(self.kept, total)]]
        outcome += [[stage, reason, f"{count:,}", _percent(count, total)] for stage, reason, count in self.causes()]
        sources = [[n, f"{r:,}", f"{self.kept_of[n]:,}", _percent(self.kept_of[n], r)] for n, r in self.records.items()]
        lengths = [[name, *map(_figure, values.values())] for name, values in self.statistics().items()]
        spent = [
            [
                stage,
                f"{s.answers:,}",
                f"{s.retries:,}",
                f"{s.prompt_tokens:,}",
                f"{s.completion_tokens:,}",
                f"{s.cost:,.4f}",
            ]
            for stage, s in self.spent.items()
        ]
        tables = [
            ("records", ["stage", "reason", "records", "share"], outcome),
            ("sources", ["source", "records", "kept", "share"], sources),
            ("kept rows", ["", "mean", "least", "median", "95 %", "greatest"], lengths),
            ("spent", ["stage", "answers", "retries", "prompt tokens", "completion tokens", "cost"], spent),
        ]
        return [table for table in tables if table[2]]

    def to_markdown(self) -> str:
        lines = ["# Yield", ""]
        for title, head, rows in self.tables():
            lines += [f"## {title.capitalize()}", "", _row(head), _row(["---"] * len(head)), *map(_row, rows), ""]
        lines.append(
            f"{self.facts:,} facts quoted, of which {self.aligned:,} were aligned and then replaced by the source."
        )
        return "\n".join(lines) + "\n"

    def _measure(self, name: str, value: float) -> None:
        self.measures.setdefault(name, array("d")).append(value)


def preview(rows: Path, count: int, wanted: int) -> str:
    """Some rows of a file, evenly spread over it, as Markdown; what they hold cannot break out of its block."""
    wanted = min(wanted, count)
    chosen = {number * count // wanted for number in range(wanted)}
    lines = [f"# {wanted} of {count:,} rows", ""]
    with rows.open(encoding="utf-8") as file:
        for number, line in enumerate(islice(file, count)):
            if number in chosen:
                lines += _shown(number + 1, json.loads(line))
    return "\n".join(lines)


def _shown(number: int, row: Mapping[str, Any]) -> list[str]:
    parts = [("Question", row["question"]), ("Facts", "\n".join(row["evidence"])), ("Completion", row["completion"])]
    lines = [f"## Line {number}", "", *_block(f"{row['id']} ({row['source']})")]
    for title, text in parts:
        lines += [f"{title}:", "", *_block(text)]
    return lines


def _block(text: str) -> list[str]:
    """The beginning of the text in a code block whose fence is longer than any run of backticks in it."""
    if len(text) > SHOWN:
        text = f"{text[:SHOWN]}\n[{len(text) - SHOWN:,} more characters in rows.jsonl]"
    fence = "`" * max([3, *(len(run) + 1 for run in _FENCE.findall(text))])
    return [f"{fence}text", text, fence, ""]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _statistics(values: array[float]) -> dict[str, float]:
    ordered = sorted(values)
    last = len(ordered) - 1
    picked = {
        "least": ordered[0],
        "median": ordered[last // 2],
        "p95": ordered[round(last * 0.95)],
        "greatest": ordered[last],
    }
    return {"mean": round(sum(ordered) / len(ordered), 4)} | {name: round(value, 4) for name, value in picked.items()}


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else "-"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3f}"
