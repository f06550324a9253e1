"""Run folders as `rlkit train` leaves them, made in milliseconds: real rows, real scores, completions of every kind."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from rewards import Sample, Weighted, presets
from rewards.gold import gold_completion
from rlkit.data.dialogues import generate as dialogues
from rlkit.data.synthetic import generate as facts

GENERATIONS = 4
LONG = "The old bridge over the river was built by the people of the town when the mill had burnt."
HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</script><img src=x onerror='window.hacked = 2'>",
    "<!--<script>",
    "]]></style><svg onload=window.hacked=3>",
    "\u202ereversed\u2066 \x1b[31m\x00\x07\r null and bell",
    "\ud800 a lone surrogate, 😀 an astral one, e\u0301 a combining one",
    '"><a href="javascript:window.hacked=4">link</a>{{data}}{{program}}',
    "\u2028\u2029\ufeff line separators",
)


def make_run(
    folder: Path,
    *,
    task: str = "care",
    steps: int = 6,
    prompts: int = 3,
    seed: int = 0,
    hostile: bool = True,
    rewards: Any = None,
    train: dict[str, Any] | None = None,
) -> Path:
    """A finished GRPO run of two sources; step 4 has an alarm, and step 2 and 4 have held-out figures."""
    folder.mkdir(parents=True)
    reward = presets.PRESETS[task]()
    levels = {"easy": list(_rows(task, "easy", seed)), "hard": list(_rows(task, "hard", seed))}
    rng = random.Random(seed)
    lines: list[dict[str, Any]] = []
    metrics = []
    for step in range(1, steps + 1):
        own = []
        for number in range(prompts):
            source = "hard" if number < round(prompts * step / steps) else "easy"
            row = rng.choice(levels[source])
            for _ in range(GENERATIONS):
                own.append(line(row, completion(row, task, rng, hostile), source, step, reward))
        lines += own
        metrics += _metrics(step, steps, own, reward)
    config = {
        "method": "grpo",
        "task": task,
        "model": {"model_name_or_path": "some/model"},
        "sources": {name: {"format": "records", "path": f"{name}.jsonl"} for name in levels},
        "curriculum": {"kind": "linear", "start": {"easy": 1.0, "hard": 0.0}, "end": {"easy": 0.0, "hard": 1.0}},
        "rewards": rewards or task,
        "train": {
            "max_steps": steps,
            "num_generations": GENERATIONS,
            "per_device_train_batch_size": prompts * GENERATIONS,
            "seed": seed,
            **(train or {}),
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    write_lines(folder / "samples.jsonl", lines)
    write_lines(folder / "metrics.jsonl", metrics)
    write_lines(folder / "alarms.jsonl", [_alarm(4, [each for each in lines if each["step"] == 4])])
    _write(folder / "environment.json", {"processes": 1, "command": ["rlkit", "train", "x.yaml"], "versions": {"trl": "1.16.0"}, "python": "3.11"})  # fmt: skip
    _write(folder / "data.json", {name: {"read": {"read": 30, "kept": 29, "dropped": {"too long": {"rows": 1}}, "noted": {}}} for name in levels})  # fmt: skip
    _write(folder / "done.json", {"steps": steps, "seconds": 61.5, "rounds": steps, "rows": steps * prompts})
    return folder


def line(row: dict[str, Any], text: str, source: str, step: int, reward: Weighted) -> dict[str, Any]:
    """One line of samples.jsonl."""
    sample = Sample.from_record({**row, "source": source}, completion=text)
    score = reward(sample)
    earned = {"total": score.total, "maximum": score.maximum, "parts": dict(score.parts)}
    return {**row, "source": source, "step": step, "prompt": [{"role": "user", "content": "..."}], "completion": sample.completion, "score": earned}  # fmt: skip


def completion(row: dict[str, Any], task: str, rng: random.Random, hostile: bool) -> str:
    """The gold output, one with a fault, or one that tries to break out of the page."""
    gold = gold_completion(Sample.from_record(row))
    if hostile and rng.random() < 0.3:
        bad = rng.choice(HOSTILE)
        return f"<think>{bad} <retrieval>{bad} and more of it</retrieval></think> Answer: {bad}" if task == "care" else json.dumps({"selected_memory": [bad], "answer": bad})  # fmt: skip
    if task == "memory_t1":
        ids = [session["id"] for session in row["sessions"]]
        return rng.choice(
            [gold, json.dumps({"selected_memory": rng.sample(ids, min(2, len(ids))), "answer": "?"}), "no JSON"]
        )
    passage = rng.choice(row["context"])
    text = passage["text"] if isinstance(passage, dict) else passage
    faults = [
        text,
        text.upper(),
        text.replace(" ", "  "),
        f"{text} truly",
        text[1:-3],
        "made up by nobody at all in here",
    ]
    spans = "".join(f"<retrieval>{rng.choice(faults)}</retrieval>" for _ in range(rng.randint(0, 3)))
    return rng.choice([gold, f"<think>So {spans}</think> Answer: {rng.choice(row['golds'])}", f"<think>{spans}"])


def write_lines(path: Path, lines: Sequence[Any]) -> None:
    text = "".join(json.dumps(each) + "\n" for each in lines)  # escapes, because completions hold lone surrogates
    path.write_text(text)


def _rows(task: str, level: str, seed: int) -> Iterator[dict[str, Any]]:
    made = (facts if task == "care" else dialogues)(level, rows=30, seed=seed)
    for number, row in enumerate(made):
        if task == "care" and number % 3 == 0:
            row["context"] = [
                {"title": "<b>Title</b>", "text": f"😀 {passage['text']} \x01<i>"} for passage in row["context"]
            ]
        if task == "care":
            row["context"] = [*row["context"], {"title": "", "text": f"😀 {LONG}"}]
        yield dict(row)


def _metrics(step: int, steps: int, own: Sequence[dict[str, Any]], reward: Weighted) -> list[dict[str, Any]]:
    totals = [each["score"]["total"] for each in own]
    values: dict[str, Any] = {"step": step, "reward": sum(totals) / len(totals), "reward_std": 0.2, "loss": 0.01, "step_time": 1.5, "learning_rate": 1e-6}  # fmt: skip
    values |= {"completions/mean_length": 20.0 + step, "completions/min_length": 10.0, "completions/max_length": 40.0, "watch/correct": 0.4, "entropy": 2.0 / step, "time/generation": 1.0, "time/rewards": 0.1, "time/update": 0.4, "time/rewards_share": 0.07}  # fmt: skip
    for name in reward.parts:
        known = [each["score"]["parts"][name] for each in own if each["score"]["parts"][name] is not None]
        values[f"rewards/{name}/mean"] = sum(known) / len(known) if known else float("nan")
        values[f"rewards/{name}/std"] = 0.3
        values[f"rewards/{name}/none_rate"] = 1 - len(known) / len(own)
    for name in ("easy", "hard"):
        values[f"sources/{name}/share"] = sum(each["source"] == name for each in own) / len(own)
    if step in (2, 4):
        return [values, {"step": step, "eval_reward": 0.5, "eval_watch/correct": 0.3}]
    return [values]


def _alarm(step: int, own: Sequence[dict[str, Any]]) -> dict[str, Any]:
    shown = [{"id": each["id"], "source": each["source"], "completion": each["completion"][:2000], "total": each["score"]["total"],
              "shortfall": 0.0, "correct": 0.0, "well_formed": True, "words": 5, "evidence_share": None} for each in own[:3]]  # fmt: skip
    return {"step": step, "kind": "reward_without_correctness", "part": "accuracy", "message": "the reward rose <b>but</b>",
            "then": {"reward": 0.1}, "now": {"reward": 0.8, "watch/correct": 0.2}, "completions": shown}  # fmt: skip


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
