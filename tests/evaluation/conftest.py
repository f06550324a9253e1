"""What the evaluation tests share: the real data beside the project, and answers as hostile as hypothesis can make them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlkit.data import locomo
from rlkit.data.layout import Report
from rlkit.data.load import load_source

DATA = Path(__file__).resolve().parents[2] / "../shared/data"


@pytest.fixture(scope="session")
def real():
    """The path of a real file; skips where the folder is missing."""

    def path(name: str) -> Path:
        if not (DATA / name).exists():
            pytest.skip(f"real data is not here: {DATA / name}")
        return DATA / name

    return path


@pytest.fixture(scope="session")
def real_records(real, tmp_path_factory):
    """The records of a real file: `real_records("locomo", "locomo.json")`."""
    cache = tmp_path_factory.mktemp("cache")
    loaded = {}

    def records(layout: str, name: str) -> list[dict]:
        if layout == "locomo" and name not in loaded:  # straight from the file: a conversion copies 1,157 conversations
            rows = json.loads(real(name).read_text(encoding="utf-8"))
            loaded[name] = [record for row in rows for record in locomo.records(row, Report(), name)]
        elif name not in loaded:
            source = {"format": layout, "path": str(real(name))}
            loaded[name] = list(load_source(source, cache_dir=cache).records())
        return loaded[name]

    return records


@pytest.fixture(scope="session")
def outputs(real):
    """The 120 released Time-Dialog questions with their golds and two raw outputs of a model."""
    lines = real("time_dialog_outputs.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
