"""Every logged completion with its explanation, its group and its advantage, packed for the reader's browser.

A row's question, passages and sessions are stored once, however many completions belong to it. Reads samples.jsonl line by
line and over several processes; holds compressed pages and a few numbers a completion, no texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rewards import Weighted
from rlkit.batches import batches
from rlkit.errors import ConfigError
from rlkit.reporting.advantages import advantages, deviation
from rlkit.reporting.blobs import Pages
from rlkit.reporting.folders import Folder
from rlkit.reporting.items import Item, Line, item_of, loads
from rlkit.streams import cores, map_lines

POOL_BYTES = 2 * 1024 * 1024  # below this a pool takes longer to start than the work takes
MAX_COMPLETION = 200_000  # characters of one completion that are shown

_COLUMNS = (
    "run", "step", "source", "id", "group", "row", "total", "maximum", "advantage", "length", "quoted", "verbatim", "fuzzy", "missing",
)  # fmt: skip


@dataclass
class Browser:
    """All completions of all runs: pages of texts, of explanations and of rows, and the columns to filter by."""

    texts: Pages = field(default_factory=lambda: Pages("t"))
    told: Pages = field(default_factory=lambda: Pages("e"))
    rows: Pages = field(default_factory=lambda: Pages("r"))
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in _COLUMNS})
    parts: dict[str, list[float | None]] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    named: dict[tuple[int, int, int], int] = field(default_factory=dict)  # run, alarm, place in it -> completion
    _rows: dict[str, int] = field(default_factory=dict)
    _ids: dict[str, int] = field(default_factory=dict)
    _groups: int = 0

    def __len__(self) -> int:
        return len(self.columns["step"])

    def add_run(self, number: int, folder: Folder, limit: int) -> str | None:
        """Add the completions of one run, at most `limit` in whole groups; returns what a reader must know of them."""
        path = folder.run.samples
        if not path.is_file() or not path.stat().st_size:
            return f"{folder.label}: no completions were logged" + (
                "." if folder.values.get("method") == "grpo" else ", as in every SFT run."
            )
        generations = folder.setting("num_generations") or 8
        chosen, count, kept = _choice(path, generations, limit)
        first = len(self)
        work = partial(_explain_lines, str(path), folder.reward, chosen)
        workers = cores() if path.stat().st_size >= POOL_BYTES else 1
        open_group: list[Item] = []
        for _, items in map_lines(path, work, workers):
            for item in items:
                whole = len(open_group) == generations
                if open_group and (whole or (item.step, item.key) != (open_group[0].step, open_group[0].key)):
                    self._add_group(number, open_group, folder.alarms)
                    open_group = []
                open_group.append(item)
        if open_group:
            self._add_group(number, open_group, folder.alarms)
        self._weigh(first, folder, generations)
        return None if kept == count else f"{folder.label}: {kept:,} of {count:,} logged completions, whole groups evenly over the run."  # fmt: skip

    def _add_group(self, run: int, items: Sequence[Item], alarms: Sequence[Line]) -> None:
        for item in items:
            if item.key not in self._rows:
                row = next(each.row for each in items if each.key == item.key and each.row is not None)
                self._rows[item.key] = self.rows.add(row)
            values: dict[str, Any] = {
                "run": run,
                "step": item.step,
                "source": _number(item.source, self.sources),
                "id": self._id(item.id),
                "group": self._groups,
                "row": self._rows[item.key],
                "total": item.total,
                "maximum": item.maximum,
                "advantage": None,
                "length": len(item.text),
                "quoted": item.quoted_words,
                **dict(zip(("verbatim", "fuzzy", "missing"), item.kinds, strict=True)),
            }
            for name, value in values.items():
                self.columns[name].append(value)
            here = len(self) - 1
            for name in item.parts:
                self.parts.setdefault(name, [None] * here)
            for name, column in self.parts.items():
                column.append(item.parts.get(name))
            self._match_alarms(alarms, here, item)
            self.texts.add(item.text[:MAX_COMPLETION])
            self.told.add(item.told)
        self._groups += 1

    def _match_alarms(self, alarms: Sequence[Line], at: int, item: Item) -> None:
        """Note which alarm names this completion: of equal ones, the last before the alarm."""
        for number, alarm in enumerate(alarms):
            if item.step > alarm.get("step", 0):
                continue
            for place, named in enumerate(alarm.get("completions") or ()):
                text = named.get("completion")
                if named.get("id") == item.id and isinstance(text, str) and item.text.startswith(text):
                    self.named[self.columns["run"][at], number, place] = at

    def _id(self, name: str) -> int:
        if name not in self._ids:
            self._ids[name] = len(self.ids)
            self.ids.append(name)
        return self._ids[name]

    def _weigh(self, first: int, folder: Folder, generations: int) -> None:
        """Advantages of the groups that were logged whole, where the settings say how TRL made them."""
        scale = folder.setting("scale_rewards")
        if folder.setting("multi_objective_aggregation") not in (None, "sum_then_normalize"):
            folder.notes.append("Advantages are not shown: normalize_then_sum compares each part over the whole batch.")
            return
        totals, groups = self.columns["total"], self.columns["group"]
        members: dict[int, list[int]] = {}
        for at in range(first, len(self)):
            members.setdefault(groups[at], []).append(at)
        spreads = self._spreads(first, folder) if scale == "batch" else {}
        for own in members.values():
            spread = spreads.get(self.columns["step"][own[0]])
            if len(own) == generations and (scale != "batch" or spread is not None):
                for at, value in zip(own, advantages([totals[at] for at in own], scale, spread), strict=True):
                    self.columns["advantage"][at] = round(value, 4)

    def _spreads(self, first: int, folder: Folder) -> dict[int, float]:
        """The standard deviation of each step's whole batch, where all of it was logged."""
        if folder.config is None:
            return {}
        try:
            size = batches(folder.config, int(folder.environment.get("processes", 1)), 10**6).completions_per_round
        except ConfigError:
            return {}
        by_step: dict[int, list[float | None]] = {}
        for at in range(first, len(self)):
            by_step.setdefault(self.columns["step"][at], []).append(self.columns["total"][at])
        whole = {step: totals for step, totals in by_step.items() if len(totals) == size}
        return {step: deviation([each for each in totals if each is not None]) for step, totals in whole.items()}

    def index(self) -> dict[str, Any]:
        """What the browser needs to filter and to find: columns, names, and where pages start."""
        return {
            "columns": {name: _rounded(values) for name, values in self.columns.items()},
            "parts": {name: _rounded(values) for name, values in self.parts.items()},
            "sources": self.sources,
            "ids": self.ids,
            "named": [[*where, at] for where, at in self.named.items()],
            "starts": {"t": self.texts.starts, "e": self.told.starts, "r": self.rows.starts},
        }


def _choice(path: Path, generations: int, limit: int) -> tuple[bytes | None, int, int]:
    """Which lines to take, as one byte a line (None = all), how many lines there are, and how many are taken."""
    with path.open("rb") as file:
        count = sum(1 for _ in file)
    if count <= limit:
        return None, count, count
    groups: list[tuple[int, int]] = []  # first line and length
    last = None
    with path.open("rb") as file:
        for number, line in enumerate(file):
            value = loads(path, number + 1, line)
            this = (value.get("step"), value.get("id"))
            if this == last and groups[-1][1] < generations:
                groups[-1] = (groups[-1][0], groups[-1][1] + 1)
            else:
                groups.append((number, 1))
            last = this
    wanted = max(1, limit // generations)
    chosen = bytearray(count)
    for i in range(min(wanted, len(groups))):
        start, size = groups[i * len(groups) // wanted]
        chosen[start : start + size] = b"\x01" * size
    return bytes(chosen), count, sum(chosen)


def _explain_lines(
    path: str, reward: Weighted | None, chosen: bytes | None, number: int, lines: list[bytes]
) -> list[Item]:
    items: list[Item] = []
    seen: set[str] = set()
    for at, line in enumerate(lines, number):
        if chosen is not None and not chosen[at - 1 : at].strip(b"\x00"):
            continue  # also what a running training has added since they were chosen
        if not line.endswith(b"\n"):
            break  # a killed process left it unfinished
        item = item_of(loads(Path(path), at, line), reward, seen)
        seen.add(item.key)
        items.append(item)
    return items


def _number(name: str, names: list[str]) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)


def _rounded(values: Sequence[Any]) -> list[Any]:
    return [float(f"{value:.6g}") if isinstance(value, float) else value for value in values]
