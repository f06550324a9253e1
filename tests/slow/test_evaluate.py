"""Evaluation by real processes: two under torchrun that are killed and go on as one or three, and a real local server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs_for_real import environment
from scripted_endpoint import Say, question_of, scripted

from rlkit.data.synthetic import generate
from rlkit.prompts import chat_prompt
from rlkit.scratch import scratch_model

pytestmark = pytest.mark.slow
ROWS = list({row["question"]: row for row in generate("easy", rows=80, seed=11)}.values())[:40]  # each question once
SHAPE = {"model_type": "qwen2", "vocab_size": 500, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    suite = {
        "title": "Easy",
        "data": {"easy": {"format": "records", "path": "rows.jsonl"}},
        "contexts": {"full": {"max_tokens": 300}, "oracle": None},
        "metrics": ["em", "f1", "format", "grounding"],
        "max_new_tokens": 12,
    }
    (tmp_path / "easy.yaml").write_text(yaml.safe_dump(suite))
    texts = [message["content"] for row in ROWS for message in chat_prompt(row)]
    scratch_model(tmp_path / "tiny", SHAPE, texts, seed=3)
    return tmp_path


def command(processes: int, *words: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    start = launcher if processes > 1 else [sys.executable, "-m"]
    options = ["--suite", "easy.yaml", "--context", "all", "model.batch_size=1"]
    return [*start, "rlkit", "evaluate", "--model", "tiny", *options, *words]


def finished(world: Path, processes: int, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(processes, *words), cwd=world, env=environment(world), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def answers(folder: Path) -> list[str]:
    """The keys of all whole lines of all journals."""
    keys = []
    for path in sorted((folder / "answers").glob("process-*.jsonl")):
        keys += [json.loads(line)["key"] for line in path.read_bytes().split(b"\n")[:-1] if line]
    return keys


def examples(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "examples.jsonl").read_text().splitlines()]


def kill(launcher: subprocess.Popen[bytes]) -> None:
    """The launcher first, so that it starts nothing again, then its processes, which it puts into sessions of their own."""
    workers = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    launcher.kill()
    for worker in map(int, workers):
        os.kill(worker, signal.SIGKILL)
    launcher.wait()
    while any(Path(f"/proc/{worker}").exists() and "Z (zombie)" not in status(worker) for worker in workers):
        time.sleep(0.02)


def status(process: str) -> str:
    try:
        return Path(f"/proc/{process}/status").read_text()
    except OSError:
        return "Z (zombie)"


def test_two_processes_that_are_killed_lose_nothing_and_end_as_one_that_was_not(world: Path) -> None:
    finished(world, 1, "--out", "whole")
    for processes in (2, 3):  # killed twice, with another number of processes each time
        before = len(answers(world / "out"))
        running = subprocess.Popen(
            command(processes, "--out", "out"),
            cwd=world,
            env=environment(world),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 300
        while len(answers(world / "out")) < before + 10:
            assert running.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        kill(running)
        assert not (world / "out/examples.jsonl").exists()
    cut = next((world / "out/answers").glob("process-*.jsonl"))
    with cut.open("ab") as journal:
        journal.write(b'{"key": "easy/ea')  # what a kill in the middle of a write leaves
    done = finished(world, 2, "--out", "out")
    keys = answers(world / "out")
    assert len(keys) == len(set(keys)) == 2 * len(ROWS)
    assert examples(world / "out") == examples(world / "whole")
    assert (world / "out/results.json").read_bytes() == (world / "whole/results.json").read_bytes()
    assert done.stdout.count("written to out") == 1  # the first process alone prints


def test_a_second_launch_on_the_same_folder_is_refused(world: Path) -> None:
    import fcntl

    (world / "out").mkdir()
    with (world / "out/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            command(2, "--out", "out"), cwd=world, env=environment(world), capture_output=True, text=True, timeout=600
        )
    assert done.returncode != 0
    assert done.stderr.count("is working in this folder") == 1
    assert not (world / "out/answers").exists()


def test_a_server_on_this_machine(world: Path) -> None:
    golds = {row["question"]: row["golds"][0] for row in ROWS}
    asked: dict[str, int] = {}

    def script(body: Any) -> Say:
        question = question_of(body)
        asked[question] = asked.get(question, 0) + 1
        assert (body["max_tokens"], body["temperature"]) == (12, 0)
        if asked[question] == 1 and len(asked) % 7 == 0:
            return Say("busy", status=503)  # asked again by the client
        return Say(f"<think></think> Answer: {golds[question]}", finish_reason="length" if len(asked) % 2 else "stop")

    with scripted(script) as server:
        words = [
            "--model",
            f"{server.url}#tiny",
            "--suite",
            "easy.yaml",
            "--context",
            "oracle",
            "--out",
            "served",
            "--json",
        ]
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-m", "rlkit", "evaluate", *words, "model.concurrency=4"],
                cwd=world, env=environment(world), capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-3000:]
            calls = len(server.calls)
        assert len(server.calls) == calls  # the second time nothing is asked
    result = json.loads(done.stdout)["suites"]["easy"]
    assert next(cell["mean"] for cell in result["cells"] if cell["metric"] == "em") == 1.0
    assert any("cut off" in note for note in result["notes"])
