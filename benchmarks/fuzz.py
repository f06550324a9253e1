"""Hostile completions against both parsers and every part: no exception, no value out of range, nothing slower than linear.

python benchmarks/fuzz.py --completions 1000000 --seed 0
python benchmarks/fuzz.py --completions 5000 --engine random

Two engines build completions from the same grammar (a well-formed, gold or empty output, then pieces put in, doubled, cut
out, repeated or swapped for any characters): most of them come from seeded random numbers, a fifth from libFuzzer through
Atheris (`pip install atheris`: wheels for Linux on x86-64), which keeps what reaches new lines of `rewards` and works on
from there. The slowest completions of the run and a sample of all are then made long and 16 times as long, and timed in
processor time. Exits with 1 at the first finding, which it prints as a row that `rlkit score` reads.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

with contextlib.ExitStack() as instrumented:
    if "--libfuzzer" in sys.argv:
        import atheris

        instrumented.enter_context(atheris.instrument_imports(include=["rewards"]))
    import rewards
    from rewards.gold import gold_completion
    from rewards.parse_care import parse_care
    from rewards.parse_memory import parse_memory
    from rewards.part import bounds_of
    from rewards.testing import example_samples

TOLERANCE = 1e-9
SLOWEST = 40  # completions of each engine that are made longer and timed, and so many besides, chosen by chance:
SAMPLED = 160  # what is slower than linear need not be slow while it is short
MIN_TIMED_CHARACTERS = 50_000
LONGER = 16
MAX_GROWTH = 2.0  # so many times the text may take so many times as many times as long
UNMEASURED_SECONDS = 0.02
PIECES = (
    "<think>", "</think>", "<retrieval>", "</retrieval>", "<retrieval></retrieval>", "Answer:", "<|im_end|>", "</s>", "<｜end▁of▁sentence｜>",
    "```json", "```", "{", "}", "[", "]", '"', "\\", "\\u", ",", ":", "selected_memory", '{"selected_memory": ["session_1"], "answer": ',
    "answer", "session_1", "<session_2>", "NaN", "Infinity", "1e999", "-0", "null", "true", "\x00", "\ud800", "\u202e", " ", "\n", "a", "7",
    "never", "not", "1815", "1,815", "2024-02-30", "0000-00-00", "9999-12-31T24:60", "13 months", "1e400 days", "３ days", "²", "½ year",
    "(1)(2)(3)", "A B", "AND", "İ", "ß", "e\u0301", "東京", "\U0001f600", "the", "an", "-", "%", "$", ".", "'", "’", "\t", "\x1f", "\xa0",
)  # fmt: skip
CARE = rewards.weighted(
    token_f1=(1.0, rewards.token_f1()),
    exact_match=(1.0, rewards.exact_match()),
    care_format=(1.0, rewards.care_format()),
    quotes=(1.0, rewards.quotes_in_context()),
    loose_quotes=(1.0, rewards.quotes_in_context(threshold=0.5, min_words=1)),
    fact_precision=(1.0, rewards.fact_coverage("precision")),
    fact_recall=(1.0, rewards.fact_coverage("recall")),
    fact_f1=(1.0, rewards.fact_coverage("f1")),
)
MEMORY = rewards.weighted(
    format=(1.0, rewards.memory_format()),
    answer=(0.6, rewards.temporal_answer()),
    evidence=(0.2, rewards.jaccard_evidence()),
    temporal=(0.2, rewards.temporal_consistency()),
)
Draw = Callable[[int], int]  # draw(n) is a whole number from 0 to n - 1


def rows() -> list[rewards.Sample]:
    """The rows that completions are scored on: every kind of answer, with labels and without."""
    memory = example_samples("memory_t1")
    open_range = {"task": "memory_t1", "sessions": memory[0].sessions, "evidence": ["session_3"], "source": "fuzz"}
    return [
        *example_samples("care"),
        rewards.Sample(task="care", id="bare", golds=["no", "-1,000.5"], source="fuzz"),
        rewards.Sample(task="care", id="odd", golds="Émile Zola", context=["Émile  Zola\nwas not born in 1841.", "", "a" * 500],
                       evidence=["Émile Zola was not born in 1841."], source="fuzz"),
        *memory,
        rewards.Sample(id="order", kind="order", golds="(2)(1)(3)", time_range=(None, "2024-06-01"), **open_range),
        rewards.Sample(id="minute", kind="time", golds="2024-03-04T10:30:00", time_range=(None, None), **open_range),
        rewards.Sample(id="letters", kind="choice", golds="A  C", **open_range),
        rewards.Sample(id="text", kind="text", golds="a boat", time_range=("2024-06-19T09:00:00", "2024-06-19"), **open_range),
    ]  # fmt: skip


def build(draw: Draw, row: rewards.Sample) -> str:
    """A completion for a row: an output that may be right, and up to eight changes to it."""
    text = ("", gold_completion(row), _well_formed(draw, row))[draw(3)]
    for _ in range(draw(9)):
        start = draw(len(text) + 1)
        end = min(len(text), start + draw(60))
        middle = _middle(draw, text[start:end])
        text = text[:start] + middle + text[end:]
    return text


def _middle(draw: Draw, cut: str) -> str:
    """What stands in the place of a piece of text: nothing, the piece twice, a token, many of one, or any characters."""
    kind = draw(8)
    if kind == 0:
        return ""
    if kind == 1:
        return cut * 2
    if kind == 2:
        return PIECES[draw(len(PIECES))] * (1 + draw(200))
    if kind == 3:
        return "".join(chr(draw(0x3000)) for _ in range(draw(12)))
    return cut + "".join(PIECES[draw(len(PIECES))] for _ in range(1 + draw(6)))


def _well_formed(draw: Draw, row: rewards.Sample) -> str:
    words = " ".join(PIECES[draw(len(PIECES))] for _ in range(draw(5)))
    if row.task == "care":
        source = row.context[draw(len(row.context))].text if row.context else row.question
        start = draw(len(source) + 1)
        return f"<think><retrieval>{source[start : start + draw(80)]}</retrieval></think> Answer: {words}"
    chosen = [each.id for each in row.sessions if draw(2)]
    return json.dumps({"selected_memory": chosen, "answer": words.split() if draw(4) == 0 else words})


def violations(row: rewards.Sample, text: str) -> Iterable[str]:
    """What is wrong with how a completion was read and scored, in words."""
    output = parse_care(text)
    if any(span not in text for span in output.spans):
        yield "a quote is not in the completion"
    if output.answer is not None and output.answer not in text:
        yield "the answer is not in the completion"
    read = parse_memory(text)
    if read.ok and not read.answer_text.strip():
        yield "a readable output has no answer"
    if len(set(read.selected)) != len(read.selected) or (not read.ok and read.selected):
        yield f"selected is {read.selected!r}"
    reward = CARE if row.task == "care" else MEMORY
    score = reward(row.with_completion(text))
    for name, value in score.parts.items():
        low, high = bounds_of(reward.parts[name])
        if value is not None and not low - TOLERANCE <= value <= high + TOLERANCE:
            yield f"{name} is {value!r}, but its bounds are {low} and {high}"
    if score.total is not None and not score.total <= score.maximum + TOLERANCE:
        yield f"the total {score.total!r} is more than the maximum {score.maximum!r}"


class Trial:
    """Checks one completion after another, and keeps the slowest."""

    def __init__(self) -> None:
        self.rows = rows()
        self.count = self.characters = 0
        self.seconds = 0.0
        self.slowest: list[tuple[float, int, int, str]] = []
        self.sampled: list[tuple[int, str]] = []
        self._chance = random.Random(0)

    def __call__(self, draw: Draw) -> None:
        index = draw(len(self.rows))
        text = build(draw, self.rows[index])
        started = time.process_time()
        try:
            wrong = list(violations(self.rows[index], text))
        except Exception as error:
            wrong = [f"{type(error).__name__}: {error}"]
        seconds = time.process_time() - started
        if wrong:
            raise Finding(self.rows[index], text, wrong)
        self.count += 1
        self.characters += len(text)
        self.seconds += seconds
        entry = (seconds / (len(text) + 200), self.count, index, text)
        heapq.heappush(self.slowest, entry) if len(self.slowest) < SLOWEST else heapq.heappushpop(self.slowest, entry)
        place = self.count - 1 if self.count <= SAMPLED else self._chance.randrange(self.count)
        if place < SAMPLED:  # each completion of the run has the same chance to be kept
            self.sampled[place : place + 1] = [(index, text)]

    def result(self) -> dict[str, Any]:
        kept = [[index, text] for _, _, index, text in sorted(self.slowest, reverse=True)]
        kept += [[index, text] for index, text in self.sampled]
        return {"count": self.count, "characters": self.characters, "seconds": self.seconds, "timed": kept}


class Finding(Exception):
    """A completion that broke a rule."""

    def __init__(self, row: rewards.Sample, text: str, wrong: list[str]) -> None:
        super().__init__(
            f"row {row.id} ({row.task}): {'; '.join(wrong)}\n{json.dumps({'id': row.id, 'completion': text})}"
        )


def run_random(count: int, seed: int, rest: float = 0.0) -> dict[str, Any]:
    """`count` completions from seeded random numbers; `rest` seconds are slept after every thousand."""
    trial, rng = Trial(), random.Random(seed)
    for number in range(count):
        trial(rng.randrange)
        if rest and number % 1000 == 999:
            time.sleep(rest)
    return trial.result()


def run_guided(count: int, seed: int) -> dict[str, Any]:
    """`count` completions from libFuzzer in a process of its own, with what it says of the code that it has reached."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, __file__, "--libfuzzer", str(report), f"-runs={count}", f"-seed={seed + 1}",
                   "-max_len=400", "-len_control=0", f"-artifact_prefix={folder}/", "-print_final_stats=1"]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, errors="replace")
        if ended.returncode or not report.is_file():
            sys.exit(f"{ended.stdout[-2000:]}\n{ended.stderr[-6000:]}")
        reached = re.findall(r"cov: (\d+) ft: \d+ corp: (\d+)", ended.stderr)
        edges, kept = map(int, reached[-1]) if reached else (0, 0)
        return {**json.loads(report.read_text(encoding="utf-8")), "edges": edges, "kept": kept}


def libfuzzer(report: Path, arguments: list[str]) -> None:
    """The process that libFuzzer drives; it ends by itself, so the report is written along the way."""
    trial = Trial()
    runs = next(int(each.split("=")[1]) for each in arguments if each.startswith("-runs="))

    def test(data: bytes) -> None:
        source = atheris.FuzzedDataProvider(data)
        trial(lambda n: source.ConsumeIntInRange(0, n - 1))
        if trial.count % 5000 == 0 or trial.count >= runs:
            report.write_text(json.dumps(trial.result()), encoding="utf-8")

    atheris.Setup([sys.argv[0], *arguments], test)
    atheris.Fuzz()


def slower_than_linear(timed: Iterable[tuple[int, str]]) -> tuple[float, list[str]]:
    """Each completion made long in two ways, then much longer: the worst growth (1 = linear), and what is over."""
    worst, over, sample = 0.0, [], rows()
    for index, text in timed:
        head, middle, tail = text[:20], text[20:-20], text[-20:]
        for long in (lambda n, t=text: t * n, lambda n, h=head, m=middle, t=tail: h + m * n + t):
            times = -(-MIN_TIMED_CHARACTERS // max(1, len(text)))
            growth = _growth(sample[index], long, times, tries=2)
            if growth > MAX_GROWTH:  # or the machine was busy with something else
                growth = _growth(sample[index], long, times, tries=7)
            worst = max(worst, growth)
            if growth > MAX_GROWTH:
                over.append(f"{growth:.1f} times linear on row {sample[index].id}: {text[:200]!r}")
    return worst, over


def _growth(row: rewards.Sample, long: Callable[[int], str], times: int, tries: int) -> float:
    short, whole = (_seconds(row, long(times * factor), tries) for factor in (1, LONGER))
    return whole / max(LONGER * short, UNMEASURED_SECONDS)


def _seconds(row: rewards.Sample, text: str, tries: int = 2) -> float:
    def once() -> float:
        started = time.process_time()
        list(violations(row, text))
        return time.process_time() - started

    return min(once() for _ in range(tries))


def versions(packages: Iterable[str]) -> str:
    """Of Python and of some packages, so that a recorded run says what it ran on."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guided", type=float, default=0.2, help="share of the completions that libFuzzer makes")
    parser.add_argument("--engine", choices=("both", "random", "guided"), default="both")
    parser.add_argument("--rest", type=float, default=0.0, help="seconds to sleep after every thousand random ones")
    args = parser.parse_args()
    engines = {"random": partial(run_random, rest=args.rest), "guided": run_guided}
    guided = {"both": round(args.completions * args.guided), "random": 0, "guided": args.completions}[args.engine]
    counts = {"random": args.completions - guided, "guided": guided}
    if guided and find_spec("atheris") is None:
        sys.exit("atheris is not installed: pip install atheris (Linux, x86-64), or --engine random.")
    print(versions(["rapidfuzz", *(["atheris"] if guided else [])]), flush=True)
    for name in (name for name, count in counts.items() if count):
        try:
            result = engines[name](counts[name], args.seed)
        except Finding as found:
            sys.exit(f"{name}: {found}")
        told = (
            f", {result['edges']:,} edges of the code reached, {result['kept']:,} inputs kept"
            if "edges" in result
            else ""
        )
        print(
            f"{name}: {result['count']:,} completions, {result['characters']:,} characters, {result['seconds']:.0f} s{told}"
        )
        worst, over = slower_than_linear(result["timed"])
        print(
            f"{name}: the slowest and a sample ({len(result['timed'])}), made longer: at most {worst:.2f} times linear",
            flush=True,
        )
        if over:
            sys.exit("\n".join(over))


if __name__ == "__main__":
    if "--libfuzzer" in sys.argv:
        libfuzzer(Path(sys.argv[2]), sys.argv[3:])
    else:
        main()
