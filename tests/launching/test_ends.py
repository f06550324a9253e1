"""A process of a group ends after its exit handlers; what other threads do during the teardown does not reach it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The thread waits in torch's store and comes back to Python while the interpreter is torn down: that aborts a process.
RETURNS_LATE = """
import atexit, logging, sys, threading, time
from logging.handlers import MemoryHandler
from datetime import timedelta
from rlkit.launching.ends import skip_teardown, tell_end
skip_teardown()
from torch.distributed import TCPStore
atexit.register(lambda: print("exit handler"))
class Teardown:
    def __del__(self, sleep=time.sleep):
        sleep(3)
teardown = Teardown()
store = TCPStore("127.0.0.1", 0, is_master=True)
threading.Thread(target=lambda: store.wait(["never"], timedelta(seconds=1)), daemon=True).start()
time.sleep(0.1)
print("printed", flush=False)
logging.getLogger().addHandler(MemoryHandler(9, target=logging.StreamHandler(sys.stdout)))
logging.warning("logged")
tell_end(7)
sys.exit(7)
"""
TELLS_OF_TEARDOWN = """
import builtins, os
class Teardown:
    def __del__(self, write=os.write):
        write(1, b"torn down")
builtins.teardown = Teardown()
"""


def run(folder: Path, *arguments: str, rank: str | None) -> tuple[int, str]:
    environment = {name: value for name, value in os.environ.items() if name != "RANK"}
    environment |= {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"} | ({} if rank is None else {"RANK": rank})
    ended = subprocess.run(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True, timeout=120
    )
    return ended.returncode, ended.stdout


def test_a_thread_that_returns_during_the_teardown_does_not_abort_a_process_of_a_group(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(RETURNS_LATE)
    assert run(tmp_path, str(tmp_path / "late.py"), rank="0") == (7, "printed\nexit handler\nlogged\n")
    code, _ = run(tmp_path, str(tmp_path / "late.py"), rank=None)
    assert code == -signal.SIGABRT  # the danger is real


def test_the_command_skips_the_teardown_in_a_group_and_keeps_every_exit_code(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(TELLS_OF_TEARDOWN)
    for arguments, code in ((["--version"], 0), (["misspelled"], 2), (["train"], 2)):
        for rank in ("1", None):
            ended, printed = run(tmp_path, "-m", "rlkit", *arguments, rank=rank)
            assert (ended, "torn down" in printed) == (code, rank is None)
