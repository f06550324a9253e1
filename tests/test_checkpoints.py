"""A checkpoint is resumed only when it is whole, unchanged and this run's."""

from __future__ import annotations

import errno
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rlkit import checkpoints
from rlkit.checkpoints import clear_unfinished, full_disk, keep_newest, mark, marked, newest_good
from rlkit.errors import RunError

FACTS = {"config": "c", "processes": 2}
BIG = 9_000_000  # over the 4 MB of which everything is read


def write(run: Path, step: int, **facts: object) -> Path:
    folder = run / f"checkpoint-{step}"
    (folder / "part").mkdir(parents=True)
    (folder / "weights").write_bytes(bytes(range(256)) * 40)
    (folder / "part/optimizer").write_bytes(b"x" * BIG)
    mark(folder, {"step": step, **FACTS, **facts})
    return folder


def cut_short(folder: Path) -> None:
    with (folder / "part/optimizer").open("rb+") as file:
        file.truncate(BIG - 1)


def cut_short_and_filled_up(folder: Path) -> None:  # what a file system may leave of a file after a power cut
    with (folder / "part/optimizer").open("rb+") as file:
        file.truncate(BIG - 10_000)
        file.truncate(BIG)


def changed(folder: Path) -> None:
    with (folder / "weights").open("rb+") as file:
        file.seek(5000)
        file.write(b"!")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (cut_short, r"part/optimizer has 8,999,999 bytes where 9,000,000 were written"),
    "filled up": (cut_short_and_filled_up, r"part/optimizer is not what was written"),
    "changed": (changed, r"weights is not what was written"),
    "lost": (lambda folder: (folder / "weights").unlink(), r"weights is missing"),
    "empty mark": (lambda folder: (folder / "rlkit.json").write_text(""), r"its rlkit\.json cannot be read"),
    "half a mark": (lambda folder: (folder / "rlkit.json").write_text('{"step": 4}'), r"its rlkit\.json cannot be read"),
    "renamed": (lambda folder: folder.rename(folder.with_name("checkpoint-8")), r"checkpoint-8: it holds step 4"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    before, newest = write(tmp_path, 2), write(tmp_path, 4)
    assert newest_good(tmp_path, FACTS) == newest
    spoil, reason = DAMAGES[damage]
    spoil(newest)
    with caplog.at_level(logging.WARNING, "rlkit"):
        assert newest_good(tmp_path, FACTS) == before
    assert len(caplog.messages) == 1
    assert re.search(reason, caplog.text)
    assert "going on from checkpoint-2" in caplog.text
    assert marked(tmp_path) == [before]  # nothing else sees the damaged one any more
    assert [path.name for path in tmp_path.glob("damaged-*")] in (
        ["damaged-checkpoint-4"],
        ["damaged-checkpoint-8"],
    )


def test_the_name_is_free_for_the_next_damaged_one(tmp_path: Path) -> None:
    write(tmp_path, 2)
    for _ in range(2):
        cut_short(write(tmp_path, 4))
        newest_good(tmp_path, FACTS)
    assert sorted(path.name for path in tmp_path.glob("damaged-*")) == [
        "damaged-checkpoint-4",
        "damaged-checkpoint-4-1",
    ]


def test_without_a_good_one_the_run_does_not_go_on(tmp_path: Path) -> None:
    for step in (2, 4):
        cut_short(write(tmp_path, step))
    with pytest.raises(RunError) as caught:
        newest_good(tmp_path, FACTS)
    for words in ("checkpoint-2: part/optimizer has", "checkpoint-4: part/optimizer has", "Put back a copy"):
        assert words in str(caught.value)
    assert len(marked(tmp_path)) == 2  # all is left as it was
    assert newest_good(tmp_path / "nothing", FACTS) is None


@pytest.mark.parametrize("other", [{"config": "d"}, {"processes": 4}])
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, other: dict[str, object]) -> None:
    write(tmp_path, 2)
    write(tmp_path, 4, **other)
    ((name, value),) = other.items()
    with pytest.raises(RunError, match=rf"checkpoint-4: is a checkpoint of another run.*\n  {name}: {value!r} -> "):
        newest_good(tmp_path, FACTS)
    assert len(marked(tmp_path)) == 2


def test_what_a_kill_leaves_is_cleared_away(tmp_path: Path) -> None:
    whole = write(tmp_path, 2)
    (tmp_path / "checkpoint-4").mkdir()
    (tmp_path / "checkpoint-4/weights").write_text("half")
    (tmp_path / ".model").mkdir()
    (tmp_path / ".metrics.jsonl.77").write_text("half")
    for mine in ("checkpoint-best", "notes"):
        (tmp_path / mine).mkdir()
    (tmp_path / ".lock").write_text("1")
    clear_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "checkpoint-2", "checkpoint-best", "notes"]
    assert newest_good(tmp_path, FACTS) == whole


def test_the_newest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (2, 4, 6, 10):
        write(tmp_path, step)
    keep_newest(tmp_path, None)
    assert len(marked(tmp_path)) == 4
    keep_newest(tmp_path, 2, best=str(tmp_path / "checkpoint-2"))
    assert [path.name for path in marked(tmp_path)] == ["checkpoint-10", "checkpoint-6", "checkpoint-2"]

    def killed(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        keep_newest(tmp_path, 1)
    assert [path.name for path in marked(tmp_path)] == ["checkpoint-10", "checkpoint-2"]  # half a one is no checkpoint


def test_a_mark_costs_no_second_reading_of_the_weights(tmp_path: Path) -> None:
    folder = write(tmp_path, 2)
    noted = json.loads((folder / "rlkit.json").read_text())
    assert set(noted["files"]) == {"weights", "part/optimizer"}
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(2**40)  # would take an hour to read
    assert checkpoints._print(tmp_path / "hole")[0] == 2**40


def test_errors_of_a_full_disk_are_known() -> None:
    saving = RuntimeError("saving failed")
    saving.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert full_disk(saving) == "[Errno 28] No space left on device"
    for torch in (". unexpected pos 64 vs 0", ". PytorchStreamWriter failed writing file data/0: file write failed"):
        assert full_disk(RuntimeError(f"[enforce fail at inline_container.cc:672] {torch}"))
    assert full_disk(OSError(errno.EACCES, "Permission denied")) is None
