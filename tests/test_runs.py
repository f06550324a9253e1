"""A run folder is continued or refused, never overwritten; its journals end where the checkpoint ends."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlkit import runs
from rlkit.config import Config, parse_config
from rlkit.errors import RunError


@pytest.fixture(autouse=True)
def _folders_are_free_again(tmp_path: Path) -> Iterator[None]:
    yield
    runs.release(runs.Run(tmp_path / "r"))


def config(folder: Path, **train: Any) -> Config:
    return parse_config(
        {
            "method": "grpo",
            "model": {"model_name_or_path": "m"},
            "sources": {"s": {"format": "records", "path": "x"}},
            "rewards": "care",
            "train": {"output_dir": str(folder), **train},
        }
    )


def checkpoint(run: runs.Run, step: int, whole: bool = True, **train: Any) -> Path:
    """A checkpoint of the run that `config(run.folder, **train)` describes."""
    folder = run.folder / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "weights").write_text("w")
    if whole:
        run.mark_complete(folder, {"step": step, **runs.identity(config(run.folder, **train), 1)})
    return folder


def test_a_new_run(tmp_path: Path) -> None:
    run = runs.open_run(config(tmp_path / "r"))
    assert not run.folder.exists()  # opening only looks
    assert runs.start(run, config(tmp_path / "r"), 1) == 0
    assert (run.folder / "config.yaml").is_file()
    assert json.loads((run.folder / "environment.json").read_text())["versions"]["trl"]


def test_somebody_elses_folder_stays_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match=r"holds files but no config\.yaml"):
        runs.open_run(config(tmp_path))


def test_same_config_continues_and_another_is_refused(tmp_path: Path) -> None:
    first = config(tmp_path / "r", seed=1, max_steps=4)
    run = runs.open_run(first)
    runs.start(run, first, 1)
    assert runs.open_run(first) == run
    assert runs.open_run(config(tmp_path / "r", seed=2)) == run  # nothing was trained yet, so nothing can be lost
    runs.append(run.metrics, [{"step": 1}])
    with pytest.raises(RunError) as caught:
        runs.open_run(config(tmp_path / "r", seed=2, max_steps=4), world_size=2)
    assert "train.seed: 1 -> 2" in str(caught.value)
    assert "number of processes: 1 -> 2" in str(caught.value)


def test_a_complete_run_is_refused(tmp_path: Path) -> None:
    first = config(tmp_path / "r")
    run = runs.open_run(first)
    runs.start(run, first, 1)
    runs.write_json(run.done, {})
    with pytest.raises(RunError, match="this run is complete and is not overwritten"):
        runs.open_run(first)


def test_resume_wants_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run to resume"):
        runs.open_run(config(tmp_path / "r"), must_exist=True)


def test_only_whole_checkpoints_count(tmp_path: Path) -> None:
    first = config(tmp_path / "r")
    run = runs.open_run(first)
    whole, torn = checkpoint(run, 5), checkpoint(run, 10, whole=False)
    assert run.checkpoint() == whole
    assert runs.start(run, first, 1) == 5
    assert whole.is_dir()
    assert not torn.exists()
    checkpoint(run, 20)
    checkpoint(run, 15)
    assert runs.start(run, first, 1) == 20  # by number, not by name


def test_journals_are_cut_at_the_checkpoint(tmp_path: Path) -> None:
    first = config(tmp_path / "r")
    run = runs.open_run(first)
    checkpoint(run, 2)
    runs.append(run.metrics, [{"step": step, "loss": 0.5} for step in (1, 2, 3)])
    with run.metrics.open("a") as file:
        file.write('{"step": 2, "lo')  # killed while writing
    runs.start(run, first, 1)
    assert [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()] == [1, 2]


def test_a_run_that_begins_anew_logs_its_first_probe_once(tmp_path: Path) -> None:
    first = config(tmp_path / "r")
    run = runs.open_run(first)
    run.folder.mkdir()
    runs.append(run.metrics, [{"step": 0, "eval_watch/correct": 0.0}])
    runs.start(run, first, 1)
    assert run.metrics.read_text() == ""


def test_a_stopping_run_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs.open_run(config(tmp_path / "r"))
    code = f"""
import sys
from pathlib import Path
from rlkit import runs
run = runs.Run(Path({str(run.folder)!r}))
runs.hold(run)
runs.tell_stopping(run)
print("holds", flush=True)
sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "holds\n"
        monkeypatch.setattr(runs, "STOPPING_SECONDS", 0)
        with pytest.raises(RunError, match=rf"process {holder.pid} on .+ \(stopping\) is training in this folder"):
            runs.hold(run)  # not for ever
        monkeypatch.undo()
        threading.Timer(0.5, holder.stdin.close).start()
        runs.hold(run)
        assert holder.wait(30) == 0


def test_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "f.json"
    runs.write_json(target, {"a": 1})

    def full(self: Path, text: str, **kwargs: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        runs.write_json(target, {"a": 2})
    assert json.loads(target.read_text()) == {"a": 1}


def test_a_refused_run_leaves_its_folder_to_the_corrected_one(tmp_path: Path) -> None:
    first, mended = config(tmp_path / "r", seed=1), config(tmp_path / "r", seed=2)
    run = runs.open_run(first)
    runs.start(run, first, 1)
    run.start_model.mkdir()
    assert runs.start(runs.open_run(mended, world_size=2), mended, 2) == 0
    assert "seed: 2" in (run.folder / "config.yaml").read_text()
    assert json.loads((run.folder / "environment.json").read_text())["processes"] == 2
    assert not run.start_model.exists()  # it was of the other config


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    first = config(tmp_path / "r")
    run = runs.open_run(first)
    runs.start(run, first, 1)
    code = f"""
from pathlib import Path
from rlkit import runs
from rlkit.errors import RunError
runs.LEAVING_SECONDS = 0
try:
    runs.hold(runs.Run(Path({str(run.folder)!r})))
except RunError as error:
    print(error)
else:
    print("taken")
"""

    def attempt() -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout

    assert "is training in this folder" in attempt()
    runs.release(run)
    assert attempt() == "taken\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.yaml", "a: [", "cannot be read"),
        ("config.yaml", "", "holds NoneType in place of a mapping"),
        ("environment.json", "{", "cannot be read"),
    ],
)
def test_a_damaged_folder_is_said_to_be_damaged(tmp_path: Path, name: str, text: str, message: str) -> None:
    first = config(tmp_path / "r")
    run = runs.open_run(first)
    runs.start(run, first, 1)
    (run.folder / name).write_text(text)
    with pytest.raises(RunError, match=message):
        runs.open_run(first)


def test_a_damaged_journal_is_not_cut(tmp_path: Path) -> None:
    first = config(tmp_path / "r")
    run = runs.open_run(first)
    runs.start(run, first, 1)
    run.metrics.write_text('{"step": 1}\nnot json\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2: is no line of a journal"):
        runs.start(run, first, 1)
    assert run.metrics.read_text().endswith("not json\n")


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("a file")
    for folder in (tmp_path / "r", tmp_path / "r" / "below"):
        with pytest.raises(RunError, match="is a file, so there can be no run folder"):
            runs.open_run(config(folder))
