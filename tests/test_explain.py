"""`rlkit explain FILE:LINE`: the right line, the run's own reward, and no word that steers a terminal."""

from __future__ import annotations

import json

import pytest
import yaml

from rewards import presets
from rewards.sample import Sample
from rlkit.cli import main

SAID = "<think><retrieval>Emma is an 1816 novel by Jane Austen.</retrieval></think> Answer: Jane Austen"
ROW = {"question": "Who?", "golds": ["Jane Austen"], "context": ["Emma is an 1815 novel by Jane Austen."]}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "out.jsonl"
    rows = [{**ROW, "id": f"q{n}", "completion": f"{SAID} {n}"} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def told(capsys, *arguments):
    assert main(["explain", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("line", "answer"), [(1, "0"), (3, "2"), (-1, "3"), (-2, "2"), (-4, "0")])
def test_the_line_that_is_named(file, capsys, line, answer):
    found = told(capsys, f"{file}:{line}", "--rewards", "care")
    (accuracy,) = (part for part in found["parts"] if part["name"] == "accuracy")
    assert f"Jane Austen {answer}" in accuracy["reasons"][0]
    assert found["total"] == presets.care()(Sample.from_record({**ROW, "completion": f"{SAID} {answer}"})).total


def test_a_run_brings_its_reward_and_the_score_that_it_gave(tmp_path, capsys):
    config = {
        "method": "grpo",
        "scratch": {"model_type": "qwen2"},
        "sources": {"s": {"format": "records", "path": "x"}},
        "rewards": {"right": {"use": "exact_match", "weight": 0.5}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    score = {"total": 0.25, "maximum": 0.5, "parts": {"right": 0.5}}
    (tmp_path / "samples.jsonl").write_text(json.dumps({**ROW, "completion": SAID, "step": 1, "score": score}) + "\n")
    found = told(capsys, f"{tmp_path}:1")
    assert found["total"] == 0.25
    assert "was logged as 0.5, but gives 1" in found["parts"][0]["reasons"][0]
    assert told(capsys, f"{tmp_path}:1", "--rewards", "care")["total"] == pytest.approx(0.8)


def test_words_for_a_reader(file, capsys):
    assert main(["explain", f"{file}:1", "--rewards", "care"]) == 0
    printed = capsys.readouterr().out
    assert "“1816” for “1815”" in printed
    assert "total: " in printed


def test_nothing_steers_the_terminal(tmp_path, capsys):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({**ROW, "completion": "\x1b[2J\x1b]0;owned\x07 Answer: x"}) + "\n")
    assert main(["explain", f"{path}:1", "--rewards", "care"]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("out.jsonl", "names no line; write out.jsonl:1"),
        ("out.jsonl:0", "counted from 1"),
        ("out.jsonl:9", "no such line; the file has 4"),
        ("out.jsonl:-9", "no such line; the file has 4"),
        ("outt.jsonl:1", "Did you mean 'out.jsonl'?"),
        ("out.jsonl:1", "lies in no run"),
    ],
)
def test_what_is_wrong_is_said(file, capsys, monkeypatch, line, words):
    monkeypatch.chdir(file.parent)
    extra = [] if words == "lies in no run" else ["--rewards", "care"]
    assert main(["explain", line, *extra]) == 2
    assert words in capsys.readouterr().err
