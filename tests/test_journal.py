"""The journal keeps every answer through kills, threads, forks and other processes, and holds none in memory."""

from __future__ import annotations

import json
import os
import pickle
import threading
from pathlib import Path

import pytest

from rlkit.errors import DataError
from rlkit.journal import Journal


def test_values_come_back_in_this_process_and_the_next(tmp_path: Path) -> None:
    path = tmp_path / "sub/journal.jsonl"
    journal = Journal(path)
    values = {"a": "text", "b": {"text": "Évora \ud83d \n", "tokens": 3}, "c": None, "d": [1, "\u2028"]}
    for key, value in values.items():
        journal.put(key, value)
    journal.put("a", "newer")
    for reader in (journal, Journal(path), pickle.loads(pickle.dumps(journal))):
        assert {key: reader.get(key) for key in values} == {**values, "a": "newer"}
        assert "a" in reader
        assert "z" not in reader
        assert reader.get("z") is None


@pytest.mark.parametrize("cut", range(1, 26))
def test_a_cut_off_last_line_is_dropped_and_what_follows_is_whole(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal.jsonl"
    first = Journal(path)
    first.put("a", 1)
    first.put("b", 2)
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    second = Journal(path)
    kept = second.get("b")
    assert second.get("a") == 1
    assert kept == (2 if cut == 1 else None)  # a line that lacks only its end is whole
    second.put("c", 3)
    third = Journal(path)
    assert (third.get("b"), third.get("c")) == (kept, 3)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"key": "a", "value": 1}\nrubbish\n{"key": "b", "value": 2}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"journal\.jsonl:2: not a line of a journal"):
        Journal(path).get("a")


def test_threads_and_a_forked_child_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.put("first", "x")

    def write(name: str) -> None:
        for number in range(100):
            journal.put(f"{name}{number}", f"{name} {number} " + "x" * number)
            assert journal.get(f"{name}{number}").startswith(f"{name} {number} ")

    child = os.fork()
    if child == 0:
        try:
            write("child")
        finally:
            os._exit(0)
    threads = [threading.Thread(target=write, args=(f"t{n}-",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.waitpid(child, 0)
    assert len({json.loads(line)["key"] for line in path.read_bytes().splitlines()}) == 501
    again = Journal(path)
    assert again.get("child99").startswith("child 99 ")
    assert again.get("t3-50").startswith("t3- 50 ")
