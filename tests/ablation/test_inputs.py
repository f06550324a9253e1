"""What a job reads besides other jobs' models: found wherever its settings name it, and missed before anything starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rlkit.ablation.inputs import digest, missing_files, named_files

OWN = Path("runs/mine")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("data/a.jsonl", "data/b.jsonl", "more.json", "saved/rows/one.arrow", "runs/mine/seed1/kept.jsonl"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    Path("own_reward.py").write_text("def short(sample): return 1.0")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"sources": {"easy": {"path": "data/a.jsonl"}}}, ["data/a.jsonl"]),
        ({"sources": {"easy": {"of": {"path": "data/*.jsonl"}, "facts": [1, 2]}}}, ["data/a.jsonl", "data/b.jsonl"]),
        ({"suites": {"mine": {"data": {"rows": {"path": "saved"}}}}}, ["saved/rows/one.arrow"]),
        ({"sources": {"easy": {"ranges": "more.json"}}, "system": "Read this.\nAnswer."}, ["more.json"]),
        ({"rewards": {"length": {"use": "own_reward:short"}}}, ["own_reward.py"]),
        (
            {"rewards": {"random": {"use": "rlkit.ablation.parts:random_accuracy"}}},
            [],
        ),  # told by the toolkit's own digest
        ({"rewards": {"none": {"use": "json:loads", "weight": 1}}, "x" * 5000: "x" * 5000}, None),
        ({"sources": {"kept": {"path": "runs/mine/seed1/kept.jsonl"}}}, []),  # told by the job that makes it
        ({"sources": {"hub": {"path": "ucinlp/drop"}}, "train": {"seed": 1, "beta": None}}, []),
    ],
)
def test_files_are_found_where_settings_name_them(settings: dict[str, Any], found: list[str] | None) -> None:
    named = named_files(settings, OWN)
    if found is not None:
        assert [str(Path(path).absolute().relative_to(Path.cwd())) for path in named] == found
    assert all(len(value) == 32 for value in named.values())


def test_a_digest_is_of_the_content() -> None:
    before = named_files({"path": "data/a.jsonl"}, OWN)
    Path("data/a.jsonl").write_text("edited")
    assert named_files({"path": "data/a.jsonl"}, OWN) != before
    assert digest(Path("nowhere.json")) == ""
    assert "own_reward" not in sys.modules  # found without running it


def test_a_file_that_is_not_there_is_named() -> None:
    sources = {"a": {"path": "data/a.jsonl"}, "b": {"of": {"path": "data/c.jsonl"}}, "c": {"path": "data/*.json"}}
    made = {"d": {"path": "runs/mine/seed2/kept.jsonl"}, "e": {"path": "ucinlp/drop.v1"}, "f": {"path": "saved"}}
    assert missing_files({"sources": {**sources, **made}}, OWN) == ["data/c.jsonl", "data/*.json"]
