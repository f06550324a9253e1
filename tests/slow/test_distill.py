"""`rlkit distill` as real processes: killed at random moments, and against a real OpenAI-compatible server."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from scripted_endpoint import Body, Say, facts_of, question_of, scripted

pytest.importorskip("openai", reason="the extra `llm` is not installed")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20
CONCURRENCY = 4
RECORDS = 500
NO_PROXY = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), "")


def record(number: int) -> dict[str, object]:
    facts = [f"The lighthouse of Fenwick{number} stands near Kelmore.", f"It was built in the year {1500 + number}."]
    return {
        "id": f"q{number}",
        "question": f"When was the lighthouse of Fenwick{number} built?",
        "context": [{"title": "Fenwick", "text": f"{facts[0]} {facts[1]} Ships pass by."}],
        "golds": [str(1500 + number)],
        "evidence": facts,
    }


GOLDS = {row["question"]: row["golds"][0] for row in map(record, range(RECORDS))}


def script(asked: Body) -> Say:
    """Mostly right, each text unlike any other, the same to the same question whenever it comes."""
    question = question_of(asked)
    chance = hashlib.sha256((asked["model"] + question).encode()).digest()
    delay = chance[0] / 255 * 0.04
    if asked["model"] == "reasoner":
        answer = "nobody knows" if chance[1] < 40 else GOLDS[question]
        return Say(f"To {question} I look it up.\nAnswer: {answer}", delay_seconds=delay)
    facts = facts_of(asked)[: 1 if chance[1] < 40 else None]
    return Say(f"To {question} I read: {' And: '.join(facts)} So that is it.", delay_seconds=delay)


def write_config(folder: Path, url: str, name: str) -> Path:
    rows = folder / "records.jsonl"
    rows.write_text("".join(json.dumps(record(number)) + "\n" for number in range(RECORDS)), encoding="utf-8")
    stage = {"base_url": url, "concurrency": CONCURRENCY, "max_retries": 1, "price": {"prompt": 1, "completion": 2}}
    values = {
        "sources": {"mine": {"format": "records", "path": str(rows)}},
        "reasoner": {**stage, "model": "reasoner"},
        "injector": {**stage, "model": "injector"},
        "output_dir": str(folder / name),
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def start(config: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rlkit", "distill", str(config)]
    environment = {**os.environ, **NO_PROXY, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(config: Path) -> None:
    process = start(config)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said.decode()


def texts(journal: Path) -> set[str]:
    """The answers in a journal, but for a last line that a kill cut off."""
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    return {json.loads(line)["value"]["text"] for line in lines}


def results(folder: Path) -> dict[str, bytes]:
    names = ("rows.jsonl", "rejected.jsonl", "report.json", "report.md", "preview.md")
    return {name: (folder / name).read_bytes() for name in names}


def test_killed_at_any_moment_no_answer_is_lost_and_none_asked_twice(tmp_path: Path) -> None:
    seed = int(os.environ.get("KILL_SEED", random.randrange(10**6)))
    print(f"KILL_SEED={seed}")
    draw = random.Random(seed)
    kills: list[tuple[float, float, set[str]]] = []  # started when, killed when, which answers were kept then
    with scripted(script) as server:
        finish(write_config(tmp_path, server.url, "whole"))
        needed = len(server.calls)
        server.calls.clear()
        config = write_config(tmp_path, server.url, "killed")
        journal = tmp_path / "killed/journal.jsonl"
        while len(kills) < KILLS:
            started_at = time.monotonic()
            process = start(config)
            enough = len(server.calls) + draw.randrange(1, 3 * needed // (2 * KILLS))
            while len(server.calls) < enough and process.poll() is None:
                time.sleep(0.001)
            time.sleep(draw.random() * 0.02)
            process.kill()
            killed_at = time.monotonic()
            process.communicate()
            assert process.returncode == -9, "it ended before it was killed"
            kills.append((started_at, killed_at, texts(journal)))
            time.sleep(0.1)  # what was on its way is answered before the next start
        asked_before_end = len(server.calls)
        finish(config)
        calls = list(server.calls)
        for _ in range(3):  # now nothing is asked any more: kill it while it reads, judges and writes
            process = start(config)
            time.sleep(draw.uniform(1.0, 5.0))
            process.kill()
            process.communicate()
            assert results(tmp_path / "killed") == results(tmp_path / "whole")
        assert len(server.calls) == len(calls)
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    for started_at, killed_at, kept in kills:
        repeated = [call for call in calls if call.asked_at > killed_at and call.said.text in kept]
        assert not repeated, "an answer that was kept is asked for again"
        answered = {call.said.text for call in calls if started_at < call.asked_at and call.answered_at < killed_at}
        assert len(answered - kept) <= 2 * CONCURRENCY, "more was lost than the workers can have had in their hands"
        long_ago = {call.said.text for call in calls if started_at < call.asked_at and call.answered_at < killed_at - 1}
        assert long_ago <= kept, "an answer that came a second before the kill was lost"
    assert len({call.said.text for call in calls}) == needed
    twice = len(calls) - needed
    print(
        f"{needed} calls needed, {asked_before_end} made by {KILLS} killed starts, {twice} were on their way at a kill"
    )
    assert twice <= KILLS * 2 * CONCURRENCY
