"""From scored examples to the files of an evaluation and to its tables, and back from the files of several.

Knows folders, suites and tables; the figures come from `summary`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rlkit.data.layout import Report
from rlkit.errors import DataError
from rlkit.evaluation.folder import read_examples
from rlkit.evaluation.published import published_table
from rlkit.evaluation.suite import Suite
from rlkit.evaluation.summary import OVERALL, Cell, Difference, compare, spread, summarise
from rlkit.evaluation.tables import (
    Run,
    Table,
    cells_table,
    differences_table,
    headline_table,
    headline_title,
    markdown,
    spreads_table,
    text,
)
from rlkit.plain import plain
from rlkit.runs import write_json, write_text
from rlkit.streams import appears_when_done

_FIGURES = ("suite", "subset", "id", "context", "pair", "values")  # what figures are made of

Slim = dict[str, Any]


@dataclass
class SuiteResult:
    """What a model got on one suite. `facts` is what of the suite decides figures and tables; `notes` is for readers."""

    facts: dict[str, Any]
    examples: list[Slim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    controls: dict[str, list[Cell]] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)

    def summarise(self) -> None:
        self.cells = summarise(self.examples, overall=self.facts["overall"], groups=self.facts["groups"])

    def keep(self, earlier: SuiteResult, contexts: Container[str]) -> None:
        """Take over what an earlier evaluation said of `contexts`, which this one did not ask."""
        self.notes += [note for note in earlier.notes if note.partition(": ")[0] in contexts]
        for name, cells in earlier.controls.items():
            self.controls[name] = self.controls.get(name, []) + [cell for cell in cells if cell.context in contexts]
        self.controls = {name: cells for name, cells in self.controls.items() if cells}

    def headlines(self, label: str) -> list[Table]:
        """The headline beside the published numbers, one table for each that was published."""
        runs = {label: self.cells, **{f"control: {name}": cells for name, cells in self.controls.items()}}
        return _headlines(self.facts, runs)

    def tables(self, label: str, brief: bool = False) -> list[Table]:
        """The headlines, and every figure; if `brief`, those of all subsets together where there are several."""
        wholes = [cell for cell in self.cells if cell.subset == OVERALL] if brief else []
        every = cells_table(f"{self.facts['title']}: all figures of {label}", wholes or self.cells)
        if wholes:
            every = replace(
                every, notes=("Figures of each subset stand in table.md and results.json; --json prints them.",)
            )
        return [*self.headlines(label), every]

    def to_dict(self) -> dict[str, Any]:
        controls = {name: [asdict(cell) for cell in cells] for name, cells in self.controls.items()}
        return {**self.facts, "notes": self.notes, "cells": [asdict(cell) for cell in self.cells], "controls": controls}


Results = dict[str, SuiteResult]


def facts_of(suite: Suite) -> dict[str, Any]:
    """What of a suite stands in `results.json`."""
    table = suite.table
    told = {"title": suite.title, "headline": suite.headline, "strict": suite.strict}
    whole = json.loads(json.dumps(plain(suite), default=str))  # as it was asked, with every change of the command
    decided = {"overall": table.overall, "groups": plain(table.groups), "published": list(table.published)}
    return {**told, **decided, "suite": whole}


def slim(example: Mapping[str, Any]) -> Slim:
    """An example without its texts."""
    return {key: example[key] for key in _FIGURES if key in example}


def notes_of(
    sources: Mapping[str, Report], contexts: Mapping[str, Report], ends: Sequence[tuple[str, str]]
) -> list[str]:
    """What a reader of the figures must know of the rows behind them, each note with the source or context that it is of.

    `ends` are the answers' contexts and finish reasons.
    """
    notes = []
    for place, report in [*((f"data.{name}", report) for name, report in sources.items()), *contexts.items()]:
        for reason, count in report.dropped.items():
            notes.append(f"{place}: {count.rows:,} of {report.read:,} rows left out: {reason}")
        if place in contexts:
            notes += [f"{place}: {count.rows:,} of {report.read:,} rows: {why}" for why, count in report.noted.items()]
        else:  # of a source also what is no row: a date of a session that is not there
            notes += [f"{place}: {why} ({count.rows:,})" for why, count in report.noted.items()]
    for context, answers in Counter(context for context, _ in ends).items():
        cut = ends.count((context, "length"))
        if cut:
            notes.append(f"{context}: {cut:,} of {answers:,} answers were cut off at max_new_tokens")
    return notes


def gather(new: Results, lines: Iterable[Mapping[str, Any]]) -> Results:
    """The results once all examples are scored, without keeping any."""
    for _ in lines:
        pass
    for result in new.values():
        result.summarise()
    return new


def write(folder: Path, label: str, new: Results, lines: Iterable[Mapping[str, Any]]) -> Results:
    """Write examples, figures and tables; what the folder held of other suites and contexts stays. Returns all of it.

    `lines` are the new examples in full.
    """
    old = _kept_results(folder)
    asked: set[tuple[str, str]] = set()
    with appears_when_done(folder / "examples.jsonl") as file:
        if file is None:
            raise DataError(f"{folder}: cannot be written.")
        for line in lines:
            asked.add((line["suite"], line["context"]))
            file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        results = dict(new)
        kept: dict[str, set[str]] = {}
        for line in read_examples(folder) if old and (folder / "examples.jsonl").is_file() else ():
            if (line["suite"], line["context"]) in asked or line["suite"] not in {**old, **new}:
                continue
            file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
            results.setdefault(line["suite"], old.get(line["suite"]) or new[line["suite"]]).examples.append(slim(line))
            kept.setdefault(line["suite"], set()).add(line["context"])
        for name, result in results.items():
            if name in new and name in old:
                result.keep(old[name], kept.get(name, set()))
            result.summarise()
        # Before the examples appear: a suite with examples and no results would be dropped by the next evaluation.
        write_json(folder / "results.json", _plain(label, results))
        write_text(folder / "table.md", as_markdown(label, results))
    return results


def read(folder: Path) -> tuple[str, Results]:
    """The model's label and the results of an evaluation's folder, figures and examples; raises `DataError`."""
    results = _kept_results(folder)
    for line in read_examples(folder):
        if line["suite"] in results:
            results[line["suite"]].examples.append(slim(line))
    return _saved(folder).get("model") or folder.name, results


def as_text(label: str, results: Results) -> str:
    return "\n".join(
        part
        for result in results.values()
        for part in [*map(text, result.tables(label, brief=True)), *_listed(result.notes)]
    )


def as_json(label: str, results: Results) -> str:
    """What stands in `results.json`, and the tables as they are printed: each row measured or published, with its scale."""
    value = _plain(label, results)
    for name, result in results.items():
        value["suites"][name]["tables"] = [dict(table.data) for table in result.headlines(label)]
    return json.dumps(value, ensure_ascii=False)


def as_markdown(label: str, results: Results) -> str:
    return "\n".join(
        part
        for result in results.values()
        for part in [*map(markdown, result.tables(label)), *_listed(result.notes), ""]
    )


def comparison(a: Path, b: Path) -> list[Table]:
    """The paired differences of two evaluations, a table for each suite that both have."""
    (label_a, one), (label_b, other) = read(a), read(b)
    if label_a == label_b:
        label_a, label_b = str(a), str(b)
    tables = []
    for name in _shared([one, other], [a, b]):
        facts = one[name].facts
        found: list[Difference] = compare(
            one[name].examples, other[name].examples, overall=facts["overall"], groups=facts["groups"]
        )
        tables.append(differences_table(facts["title"], found, label_a, label_b))
    return tables


def seeds(folders: Sequence[Path]) -> list[Table]:
    """Mean and spread of the same evaluation of several runs: beside what was published, and in every figure."""
    runs = [read(folder)[1] for folder in folders]
    tables = []
    for name in _shared(runs, folders):
        facts = runs[0][name].facts
        found = spread([run[name].cells for run in runs])
        tables += _headlines(facts, {f"mean of {len(runs)} runs": found})
        tables.append(spreads_table(f"{facts['title']}: all figures of {len(runs)} runs", found))
    return tables


def _headlines(facts: Mapping[str, Any], runs: Mapping[str, Run]) -> list[Table]:
    """The headline metric of some runs, one table for each that was published."""
    suite, headline = facts["title"], facts["headline"]
    keys: Sequence[str | None] = facts["published"] or [None]
    tables = [(key and published_table(key)) or None for key in keys]
    return [headline_table(headline_title(suite, headline, table), runs, headline, table) for table in tables]


def _plain(label: str, results: Results) -> dict[str, Any]:
    return {"model": label, "suites": {name: result.to_dict() for name, result in results.items()}}


def _shared(runs: Sequence[Results], folders: Sequence[Path]) -> list[str]:
    names = [name for name in runs[0] if all(name in run for run in runs)]
    if not names:
        has = "; ".join(f"{folder} has {', '.join(run) or 'none'}" for folder, run in zip(folders, runs, strict=True))
        raise DataError(f"no suite is in all of these evaluations, so there is nothing to compare: {has}.")
    return names


def _kept_results(folder: Path) -> Results:
    results = {}
    for name, value in (_saved(folder).get("suites") or {}).items():
        try:
            cells = [Cell(**cell) for cell in value.pop("cells")]
            controls = {key: [Cell(**cell) for cell in held] for key, held in value.pop("controls").items()}
            results[name] = SuiteResult(value, [], value.pop("notes"), controls, cells)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{folder / 'results.json'}: {name} is damaged ({error}); evaluate into another folder."
            ) from error
    return results


def _saved(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not readable as JSON ({error}); evaluate into another folder.") from error
    return value if isinstance(value, dict) else {}


def _listed(notes: Iterable[str]) -> list[str]:
    return [f"- {note}" for note in notes]
