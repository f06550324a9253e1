"""`rlkit check` tells a run's memory in a line, without torch, and gives advice that fits what it found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlkit import cli
from rlkit.config import load_config
from rlkit.planning.outline import outline

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_a_line_for_a_known_model() -> None:
    line = outline(load_config("configs/care/qwen2.5-7b.yaml"), 8, 100, 0, "words")
    assert line.startswith("about ")
    assert "(ZeRO 3, offload none, 8 process(es), 7,615.6M parameters); rlkit plan" in line


@pytest.mark.parametrize(
    ("path", "overrides"),
    [
        ("configs/quickstart/grpo.yaml", []),  # on the CPU
        ("configs/quickstart/grpo.yaml", ["train.use_cpu=false"]),  # a model that is not there yet
        ("configs/care/qwen2.5-7b.yaml", ["train.deepspeed=missing.json"]),
    ],
)
def test_no_line_where_something_is_not_known(path: str, overrides: list[str]) -> None:
    assert outline(load_config(path, overrides), 1, 100, 0, "words") == ""


def test_the_line_needs_no_torch() -> None:
    code = """
import sys
from rlkit.config import load_config
from rlkit.planning.outline import outline
print(outline(load_config("configs/memory_t1/qwen2.5-3b.yaml"), 8, 1, 0, "words"))
print([name for name in ("torch", "transformers", "deepspeed") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    line, loaded = done.stdout.splitlines()
    assert line
    assert loaded == "[]"


def memory_rows(path: Path, session_date: str) -> None:
    import json

    rows: list[dict[str, Any]] = [
        {
            "id": f"q{day}",
            "task": "memory_t1",
            "question": "What did Ann adopt?",
            "golds": ["a dog"],
            "evidence": ["s1"],
            "time_range": ["2024-03-01", "2024-03-05"],
            "sessions": [
                {"id": "s1", "date": session_date, "utterances": [{"speaker": "Ann", "text": "I have a dog."}]}
            ],
        }
        for day in (1, 2, 3, 4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize(("date", "outside"), [("2024-03-11", True), ("2024-03-03", False)])
def test_gold_sessions_outside_the_range_are_no_wrong_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], date: str, outside: bool
) -> None:
    memory_rows(tmp_path / "rows.jsonl", date)
    (tmp_path / "c.yaml").write_text(
        f"method: grpo\ntask: memory_t1\nscratch: {{model_type: qwen2}}\nsources: {{only: {{format: records, path: {tmp_path}/rows.jsonl}}}}\n"
        f"rewards: memory_t1\ntrain: {{max_steps: 2, num_generations: 4, output_dir: {tmp_path}/run}}\n"
    )
    assert cli.main(["check", str(tmp_path / "c.yaml")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    advice = "4 of 4 rows: the labelled sessions earn less than 1 in temporal consistency (R_t), at worst "
    assert (advice in shown) is outside
    assert "mend the labels or leave the rows out" not in shown
    assert ("the row still teaches" in shown) is outside
