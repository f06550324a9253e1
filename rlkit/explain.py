"""`rlkit explain FILE:LINE`: why this completion got this score, in words.

Knows files and runs; the words come from `rewards.explain`.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from rewards.compose import Score, Weighted
from rewards.explain import Explanation, explain
from rlkit.config import load_config
from rlkit.errors import ConfigError, DataError, nearest
from rlkit.score import load_reward, parse_line, sample_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("line", metavar="FILE:LINE", help="JSON lines in the record layout, or a run's folder, and the number of a line (-1 = the last)")  # fmt: skip
    parser.add_argument("--rewards", help="a preset or a YAML file with rewards: (default: those of the run that the file is of)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print everything as one object, places in characters")


def main(args: argparse.Namespace) -> int:
    path, number = place(args.line)
    told = explain_line(path, number, args.rewards)
    print(json.dumps(told.as_dict(), ensure_ascii=False) if args.json else shown(told))
    return 0


def place(text: str) -> tuple[Path, int]:
    """The file and the number of the line that `FILE:LINE` names; a run's folder stands for its samples.jsonl.

    >>> place("out.jsonl:3")
    (PosixPath('out.jsonl'), 3)
    >>> place("out.jsonl")
    Traceback (most recent call last):
    rlkit.errors.ConfigError: out.jsonl: names no line; write out.jsonl:1 for the first, out.jsonl:-1 for the last.
    """
    found = re.fullmatch(r"(.+):(-?[0-9]{1,15})", text, re.DOTALL)
    if found is None:
        raise ConfigError(f"{text}: names no line; write {text}:1 for the first, {text}:-1 for the last.")
    path, number = Path(found[1]), int(found[2])
    if number == 0:
        raise ConfigError(f"{text}: lines are counted from 1; -1 is the last.")
    return (path / "samples.jsonl" if path.is_dir() else path), number


def explain_line(path: Path, number: int, rewards: str | None = None) -> Explanation:
    """Why the completion on this line of a file got its score.

    Without `rewards`, of the run that the file lies in; then the score that the line holds is what is explained. With
    `rewards`, the completion is scored anew. Raises `ConfigError`, `DataError` or `RewardError`.
    """
    reward = load_reward(rewards) if rewards is not None else _reward_of_run(path)
    text, number = _line(path, number)
    where = f"{path}:{number}"
    row = parse_line(text, where)
    sample = sample_of(row, where)
    return explain(sample, reward, None if rewards is not None else _logged(row, reward))


def shown(told: Explanation) -> str:
    """The question, what was said, and why it earned what it did."""
    visible = [
        "".join(char if char.isprintable() or char == "\n" else "�" for char in text)  # nothing may steer a terminal
        for text in (told.sample.question, told.sample.completion, " | ".join(told.sample.golds))
    ]
    return f"question:   {visible[0]}\ngold:       {visible[2]}\ncompletion: {visible[1]}\n\n{told}"


def _reward_of_run(path: Path) -> Weighted:
    config = path.parent / "config.yaml"
    if not config.is_file():
        raise ConfigError(
            f"{path}: lies in no run, so no reward is known for it; give --rewards care, memory_t1 or a YAML file."
        )
    if load_config(config).rewards is None:
        raise ConfigError(f"{config}: is of a run without rewards; give --rewards care, memory_t1 or a YAML file.")
    return load_reward(str(config))


def _logged(row: dict[str, Any], reward: Weighted) -> Score | None:
    """The score in the line, if it is one of this reward."""
    kept = row.get("score")
    parts = kept.get("parts") if isinstance(kept, dict) else None
    if not isinstance(kept, dict) or not isinstance(parts, dict) or set(parts) != set(reward.parts):
        return None
    return Score(kept.get("total"), parts, kept.get("maximum", 0.0), kept.get("errors") or {})


def _line(path: Path, number: int) -> tuple[bytes, int]:
    """A line's text and its number from the beginning; the file is read up to it."""
    if not path.is_file():
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ConfigError(f"{path}: there is no such file.{nearest(path.name, near)}")
    count, last = 0, b""
    with path.open("rb") as lines:
        for count, line in enumerate(lines, 1):
            if count == number:
                return line.removeprefix(b"\xef\xbb\xbf").strip(), count
            if number < -1:
                continue
            last = line
    if number == -1 and count:
        return last.strip(), count
    if number < -1 and count + number >= 0:
        return _line(path, count + 1 + number)
    raise DataError(f"{path}:{number}: there is no such line; the file has {count:,}.")
