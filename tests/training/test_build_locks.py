"""A lock that a killed process has left is removed; one that is held, or may be held elsewhere, is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlkit.training.build_locks import build_folders, free_abandoned


def lock(folder: Path, age: float) -> Path:
    path = folder / "py311_cpu" / "deepspeed_shm_comm" / "lock"
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_an_abandoned_lock_is_removed(tmp_path: Path) -> None:
    left = lock(tmp_path, age=300)
    (left.parent / "deepspeed_shm_comm.so").touch()
    assert free_abandoned([tmp_path, tmp_path / "missing"]) == [left]
    assert [path.name for path in left.parent.iterdir()] == ["deepspeed_shm_comm.so"]
    assert free_abandoned([tmp_path]) == []


def test_a_young_one_is_waited_for(tmp_path: Path) -> None:
    left = lock(tmp_path, age=0)
    started = time.time()
    assert free_abandoned([tmp_path], patience=0.5) == [left]
    assert time.time() - started >= 0.5


def test_a_held_one_is_left_alone(tmp_path: Path) -> None:
    """Held as torch holds it, by another process; the kill of that process abandons it."""
    code = """
import sys, time
from torch.utils.file_baton import FileBaton
baton = FileBaton(sys.argv[1])
print(baton.try_acquire(), flush=True)
time.sleep(600)
"""
    path = tmp_path / "fused_adam" / "lock"
    path.parent.mkdir()
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    os.utime(path, (0, 0))
    assert free_abandoned([tmp_path]) == []
    holder.kill()
    holder.communicate()
    assert path.exists()
    assert free_abandoned([tmp_path]) == [path]


def test_torch_is_asked_for_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    assert build_folders()[0].name == "torch_extensions"
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert build_folders() == [tmp_path]
