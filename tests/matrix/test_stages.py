"""Every ZeRO stage with and without LoRA, SFT and GRPO: what one process does without DeepSpeed, several do with it.

When all cells have passed in one run, docs/matrix.json and docs/matrix.md are written anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cells import BATCH, STEPS, TOLERANCES, Cell, Ranks, check, compare, reference, run_cell
from matrix_page import PAGE, RESULT, page

from rlkit.runs import environment, write_json, write_text

pytestmark = pytest.mark.matrix
CELLS = [
    *(Cell(m, a, stage) for m in ("sft", "grpo") for a in ("full", "lora") for stage in range(4)),
    *(Cell(method, "lora+tags", 3) for method in ("sft", "grpo")),
    Cell("grpo", "full", 3, processes=4),
    Cell("grpo", "lora+tags", 2, processes=4),
]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    with Ranks(tmp_path_factory.mktemp("ranks")) as started:
        yield started


@pytest.fixture(scope="module")
def alone(ranks: Ranks, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The run of one process, made once for all stages."""
    made: dict[tuple[str, str], Path] = {}

    def of(method: str, adapter: str) -> Path:
        if (method, adapter) not in made:
            made[method, adapter] = reference(ranks, tmp_path_factory.mktemp("alone"), method, adapter)
        return made[method, adapter]

    return of


@pytest.fixture(scope="module")
def results() -> Iterator[dict[Cell, dict[str, Any]]]:
    found: dict[Cell, dict[str, Any]] = {}
    yield found
    if set(found) != set(CELLS):  # a part of the matrix does not replace the whole
        return
    here = environment(1)
    result = {
        "date": date.today().isoformat(),
        "versions": {"python": here["python"], **here["versions"]},
        "steps": STEPS,
        "batch": BATCH,
        "tolerances": asdict(TOLERANCES),
        "cells": [{**asdict(cell), **found[cell]} for cell in CELLS],
    }
    write_json(RESULT, result)
    write_text(PAGE, page(result))


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_as_one_process(
    cell: Cell,
    tmp_path: Path,
    ranks: Ranks,
    alone: Callable[[str, str], Path],
    results: dict[Cell, dict[str, Any]],
) -> None:
    other = alone(cell.method, cell.adapter)
    found = compare(cell, other, run_cell(ranks, tmp_path, cell))
    check(found)
    results[cell] = asdict(found)
    shutil.rmtree(tmp_path)
