"""What the loader tests share: a loader with a cache of its own, and ways to store the same rows differently."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlkit.data.load import Loaded, load_source


@pytest.fixture
def load(tmp_path):
    """Load a source with a cache that nothing else sees: `load(path, "drop", limit=3).rows`."""

    def loader(path, format, **keys) -> Loaded:
        spec = {"format": format, "path": str(path), **keys}
        return load_source(spec, "sources.mine", tmp_path, cache_dir=tmp_path / "cache")

    return loader


@pytest.fixture
def write(tmp_path):
    """Write bytes or text as they are, rows as JSON lines or as one JSON value by the suffix; gives the path."""

    def writer(name: str, value) -> Path:
        path = tmp_path / name
        if isinstance(value, bytes):
            path.write_bytes(value)
        elif isinstance(value, str):
            path.write_text(value, encoding="utf-8")
        elif name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(row) + "\n" for row in value), encoding="utf-8")
        else:
            path.write_text(json.dumps(value), encoding="utf-8")
        return path

    return writer


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Put rows with the hub's features where `datasets.load_dataset` finds them, and count what is asked of it."""
    import datasets

    asked: list[tuple] = []

    def publish(rows, features):
        dataset = datasets.Dataset.from_list(rows, features=features)

        def load_dataset(path, name=None, *, split, revision=None):
            asked.append((path, name, split, revision))
            return dataset

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return dataset

    publish.asked = asked
    return publish


@pytest.fixture(scope="session")
def slices() -> Path:
    """The folder with slices of the real data sets, beside the project."""
    folder = Path(__file__).resolve().parents[2] / "../shared/data"
    if not folder.is_dir():
        pytest.skip(f"the slices of real data are not there ({folder})")
    return folder
