"""What `rlkit plan` predicts is what real runs hold: every allocation of a training is followed and compared term by term."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from runs_for_real import ROOT

# How far a prediction may be off. What is largest at once may be over by more than under: a run that was said to fit must fit.
STATES, KEPT, LARGEST_UNDER, LARGEST_OVER = 0.05, 0.12, 0.05, 0.30
STAGE_3 = 0.20  # DeepSpeed holds gathered weights for as long as they fit, which a small model always does


def compared(name: str, folder: Path) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("benchmark_plan", ROOT / "benchmarks/plan.py")
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = benchmark  # dataclasses look their module up
    spec.loader.exec_module(benchmark)
    config, held = benchmark.run_case(name, folder)
    return {row.term: row for row in benchmark.compare(name, config, held)}


def check(rows: dict[str, Any], under: float, states: float = STATES) -> None:
    assert abs(rows["states between steps"].error) <= states, rows
    if "kept by the forward pass" in rows:
        assert abs(rows["kept by the forward pass"].error) <= KEPT, rows
    if "generation" in rows:
        assert abs(rows["generation"].error) <= KEPT, rows
    assert -under <= rows["largest at once"].error <= LARGEST_OVER, rows


@pytest.mark.matrix
def test_grpo_with_a_reference_model(tmp_path: Path) -> None:
    check(compared("grpo-reference", tmp_path), LARGEST_UNDER)


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["sft", "sft-checkpointing", "sft-lora", "grpo", "grpo-bfloat16", "grpo-lora"])
def test_every_way_of_training(tmp_path: Path, name: str) -> None:
    check(compared(name, tmp_path), LARGEST_UNDER)


@pytest.mark.matrix
@pytest.mark.parametrize("stage", ["zero0", "zero1", "zero2", "zero3", "zero1-32bit", "zero2-32bit"])
def test_every_stage(tmp_path: Path, stage: str) -> None:
    loose = STAGE_3 if "3" in stage.partition("-")[0] else STATES
    check(compared(stage, tmp_path), loose, loose)
