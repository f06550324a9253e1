"""`rlkit check`: what a run would do, before any accelerator is held.

Loads the data, lets every row's own gold answer earn its reward, does the batch arithmetic and draws the plan; loads
no model and no torch. A row that cannot be graded looks exactly like a hard one, so it is found here or never.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from curricula import Preview, preview
from rewards import Sample, Weighted
from rewards.config import from_config as rewards_from_config
from rewards.gold import gold_completion
from rewards.part import bounds_of
from rewards.temporal import temporal_consistency
from rlkit.batches import Batches
from rlkit.config import Config, load_config
from rlkit.errors import ConfigError
from rlkit.fitting import fitted, shortens
from rlkit.held_out import held_out_sources
from rlkit.machine import lacking
from rlkit.plain import plain
from rlkit.planning.outline import outline
from rlkit.prompts import prompt_of
from rlkit.runs import open_run
from rlkit.sources import Sources, check_demonstration, load_sources, plan_rows, schedule_of
from rlkit.training.figures import measure_of
from rlkit.training.support import without_models

MAX_LISTED = 10
ROWS_PER_BATCH = 64


@dataclass
class Findings:
    """What `check` found; `warnings` are what a user should look at before training."""

    rows: dict[str, int]
    reports: dict[str, str]
    gold_rows: int = 0
    gold_short: list[str] = field(default_factory=list)
    gold_short_rows: int = 0
    gold_outside_rows: int = 0  # of those, the ones that fall short by temporal consistency alone
    gold_outside_least: float = 1.0
    lengths: dict[str, dict[str, float]] = field(default_factory=dict)
    counted_in: str = "words"
    longest_completion: int = 0  # of the rows that SFT trains on
    batches: Batches | None = None
    preview: Preview | None = None
    watched: str = ""
    memory: str = ""
    asking: list[str] = field(default_factory=list)  # parts that ask a model, so that golds are judged without them
    warnings: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a YAML file, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. train.max_steps=20")
    parser.add_argument("--processes", type=int, default=1, help="how many processes the run will have (default 1)")
    parser.add_argument("--limit", type=int, help="look at the first N rows of every source only")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there is any warning")
    parser.add_argument("--json", action="store_true", help="print what was found as one object")


def main(args: argparse.Namespace) -> int:
    config = load_config(args.config, args.overrides)
    findings = check(config, processes=args.processes, limit=args.limit)
    if args.json:
        print(json.dumps(plain(findings), ensure_ascii=False))
    else:
        _show(args.config, config, findings, args.processes)
    return 1 if args.strict and findings.warnings else 0


def check(config: Config, *, processes: int = 1, limit: int | None = None) -> Findings:
    """Everything that can be known of a run before it starts; raises the error that would stop it."""
    if limit is not None and limit < 1:
        raise ConfigError(f"limit: is {limit}, but must be at least 1; leave it out to look at every row.")
    reward = None if config.rewards is None else rewards_from_config(config.to_dict()["rewards"])
    open_run(config, world_size=processes)
    sources = load_sources(config)
    held_out = held_out_sources(config, sources)
    if config.watched is not None:
        measure_of(config.watched.correct)
    found = Findings(sources.sizes(), {name: str(loaded.report) for name, loaded in sources.loaded.items()})
    found.warnings += lacking(config)
    count, found.counted_in = _counter(config)
    _lengths(config, sources, count, limit, found)
    shown = _as_shown(config, sources, found)
    if reward is not None:
        reward, found.asking = without_models(reward)
    if reward is not None:
        _golds(config, shown, reward, limit, found)
    plan, found.batches = plan_rows(config, shown, processes)
    found.preview = preview(plan, schedule_of(config))
    found.watched = _watched(config, held_out, found.batches)
    found.warnings += found.preview.notes
    longest = max((int(length["max"]) for length in found.lengths.values()), default=0)
    found.memory = outline(config, processes, longest, found.longest_completion, found.counted_in)
    _window(config, found)
    return found


def _lengths(config: Config, sources: Sources, count: Callable[[str], int], limit: int | None, found: Findings) -> None:
    """Walk the rows once for the length of their prompts."""
    lengths: dict[str, list[int]] = {name: [] for name in found.rows}
    for name, record in sources.records():
        if limit is None or len(lengths[name]) < limit:
            lengths[name].append(sum(count(message["content"]) for message in prompt_of(record, config.prompt.system)))
            if config.method == "sft":
                check_demonstration(name, record)
                found.longest_completion = max(found.longest_completion, count(str(record.get("completion"))))
    for name, counts in lengths.items():
        over = sum(length > config.prompt.max_tokens for length in counts) if config.prompt.max_tokens else 0
        found.lengths[name] = {"median": median(counts), "max": max(counts), "over": over}


def _as_shown(config: Config, sources: Sources, found: Findings) -> Sources:
    """The sources as training will see them, where the tokenizer that decides it is at hand; its wording is checked."""
    if found.counted_in == "words":
        if not shortens(config):
            return sources
        found.warnings.append(
            "which rows fit into their lengths is known only with the model's tokenizer: what is said here of golds, batches "
            "and curriculum holds for all rows."
        )
        return sources
    from rlkit.training.common import load_tokenizer
    from rlkit.training.wording import check_wording

    tokenizer = load_tokenizer(str(config.model["model_name_or_path"]), config)
    found.warnings += check_wording(config, sources, tokenizer)
    shown = fitted(config, sources, tokenizer)
    if shown is sources:
        return sources
    for name, loaded in shown.loaded.items():
        found.reports[name] += f"\nin prompts: {loaded.report}"
        left_out = found.rows[name] - len(loaded.rows)
        if left_out:
            found.warnings.append(f"{name}: {left_out} of {found.rows[name]} rows are left out, see above.")
    return shown


def _golds(config: Config, sources: Sources, reward: Weighted, limit: int | None, found: Findings) -> None:
    """Let every row's own gold answer earn its reward, in batches as training has them."""
    seen: Counter[str] = Counter()
    batch: list[tuple[str, Sample]] = []
    for name, record in sources.records():
        seen[name] += 1
        if limit is not None and seen[name] > limit:
            continue
        sample = Sample.from_record(record, prompt=prompt_of(record, config.prompt.system))
        batch.append((name, sample.with_completion(gold_completion(sample))))
        if len(batch) == ROWS_PER_BATCH:
            _judge(batch, reward, found)
            batch = []
    _judge(batch, reward, found)
    wrong = found.gold_short_rows - found.gold_outside_rows
    if wrong:
        found.warnings.append(
            f"{wrong} of {found.gold_rows} rows: the gold answer does not earn the maximum, so no completion can; mend the labels or "
            "leave the rows out."
        )
    if found.gold_outside_rows:
        found.warnings.append(
            f"{found.gold_outside_rows} of {found.gold_rows} rows: the labelled sessions earn less than 1 in temporal consistency "
            f"(R_t), at worst {found.gold_outside_least:.3g}, because one of them, or what it tells of, lies outside the question's "
            "time range. Where something is told of on a later day that is so by design, and the row still teaches, because rewards are "
            "compared within its own group. Only where it should lie inside, mend the range or the dates."
        )


def _judge(batch: list[tuple[str, Sample]], reward: Weighted, found: Findings) -> None:
    scores = reward.batch([sample for _, sample in batch])
    for (name, sample), score in zip(batch, scores, strict=True):
        found.gold_rows += 1
        if score.total is not None and math.isclose(score.total, score.maximum, abs_tol=1e-9):
            continue
        found.gold_short_rows += 1
        best = {part: bounds_of(reward.parts[part])[reward.weights[part] > 0] for part in reward.parts}
        short = {
            part: value
            for part, value in score.parts.items()
            if value is not None and not math.isclose(value, best[part], abs_tol=1e-9)
        }
        if short and all(isinstance(reward.parts[part], temporal_consistency) for part in short):
            found.gold_outside_rows += 1
            found.gold_outside_least = min(found.gold_outside_least, *short.values())
        if len(found.gold_short) < MAX_LISTED:
            told = ", ".join(f"{part} {value:.3g} of {best[part]:.3g}" for part, value in short.items())
            found.gold_short.append(f"{name}: row {sample.id}: {told or 'no part applies'}")


def _counter(config: Config) -> tuple[Callable[[str], int], str]:
    """Tokens of the model's own tokenizer where its file is at hand, else words."""
    folder = config.model.get("model_name_or_path")
    file = Path(str(folder)) / "tokenizer.json" if folder else None
    if file is not None and file.is_file():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(file))
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids), "tokens"
    return lambda text: len(text.split()), "words"


def _window(config: Config, found: Findings) -> None:
    """Warn where the longest prompt and a full completion do not fit into the model's positions."""
    path = Path(str(config.model.get("model_name_or_path", ""))) / "config.json"
    if config.scratch is not None:
        positions = config.scratch.get("max_position_embeddings")
    elif path.is_file():
        positions = json.loads(path.read_text(encoding="utf-8")).get("max_position_embeddings")
    else:
        positions = None
    if found.counted_in == "words":
        found.warnings.append(
            "lengths are counted in words: the model's tokenizer.json is not on this machine; expect 1.3 to 2 tokens a word."
        )
    for name, length in found.lengths.items():
        if length["over"]:
            found.warnings.append(
                f"{name}: {length['over']} prompts have more than prompt.max_tokens = {config.prompt.max_tokens} "
                f"{found.counted_in}; their distractors are dropped, and a row whose evidence alone is longer is left out."
            )
    longest = max((length["max"] for length in found.lengths.values()), default=0)
    longest = min(longest, config.prompt.max_tokens or longest)
    grpo = config.method == "grpo"
    answer = config.setting("max_completion_length") if grpo else found.longest_completion
    limit = None if grpo else config.setting("max_length")
    if positions and min(longest + answer, limit or math.inf) > positions:
        found.warnings.append(
            f"prompts of up to {longest:,.0f} {found.counted_in} and completions of up to {answer:,} do not fit into the model's "
            f"{positions:,} positions; lower prompt.max_tokens or train.max_{'completion_' if grpo else ''}length."
        )


def _watched(config: Config, held_out: Sources | None, sums: Batches) -> str:
    """How the run will be watched, in words."""
    options = config.watched
    if options is None:
        return "not watched (alarms: false)" if config.method == "grpo" else ""
    right = "exact_match, for Memory-T1 temporal_answer" if options.correct is None else options.correct["use"]
    said = f"judged every {options.window_steps:,} steps, right answers by {right} on "
    if options.probe is None or held_out is None:
        said += "the training rows; alarms.probe names held-out ones"
    else:
        rows = min(options.probe.rows, held_out.sizes()["probe"])
        said += f"{rows:,} held-out rows every {options.probe.every_steps:,} steps"
    first = options.window_steps * (options.windows + 1)
    if sums.steps is not None and sums.steps < first:
        said += f"; with {sums.steps:,} steps no rise can be seen, which takes {first:,}"
    return said + ("; the first alarm stops the run" if options.stop else "")


def _show(path: str, config: Config, found: Findings, processes: int) -> None:
    from rich.table import Table

    from rlkit.console import standard_output

    console = standard_output()
    model = config.model.get("model_name_or_path") or f"scratch {config.scratch.get('model_type', 'qwen2')}"  # type: ignore[union-attr]
    console.print(f"[bold]{path}[/bold]: {config.method} of {model} on task {config.task}, {processes} process(es)")
    console.print(f"run folder {config.output_dir}\n")

    table = Table(
        "source", "rows", f"{found.counted_in} median", "max", "over budget", title="data", title_justify="left"
    )
    for name, rows in found.rows.items():
        length = found.lengths[name]
        table.add_row(name, f"{rows:,}", f"{length['median']:,.0f}", f"{length['max']:,.0f}", f"{length['over']:,.0f}")
    console.print(table)
    for name, report in found.reports.items():
        console.print(f"{name}: {report}", markup=False)
    if config.method == "grpo":
        good = found.gold_rows - found.gold_short_rows
        console.print(f"\ngold answers: {good:,} of {found.gold_rows:,} earn the maximum")
        if found.asking:
            console.print(f"  not judged, because a model is asked: {', '.join(found.asking)}", markup=False)
        for line in found.gold_short:
            console.print(f"  {line}", markup=False)
        if found.gold_short_rows > len(found.gold_short):
            console.print(f"  and {found.gold_short_rows - len(found.gold_short):,} more")
    if found.batches is not None:
        console.print(f"\nbatches: {_sums(config, found.batches)}")
    if found.watched:
        console.print(f"alarms: {found.watched}", markup=False)
    if found.memory:
        console.print(f"memory: {found.memory}", markup=False)
    if found.preview is not None:
        _show_curriculum(console, found.preview)
    for warning in found.warnings:
        console.print(f"[yellow]warning[/yellow]: {warning}")
    if not found.warnings:
        console.print("nothing to warn of")


def _sums(config: Config, sums: Batches) -> str:
    if config.method == "grpo":
        return (
            f"{sums.rows_per_round:,} prompts x {sums.generations} = {sums.completions_per_round:,} completions a round, "
            f"{sums.rounds:,} rounds, {sums.steps:,} optimizer steps"
        )
    if sums.steps is not None:
        return f"{sums.rows_per_round:,} rows a step, {sums.steps:,} optimizer steps"
    return (
        f"{sums.rounds * sums.rows_per_round:,} rows in planned order, packed into sequences of up to "
        f"{config.setting('max_length'):,} tokens, {sums.completions_per_round:,} sequences an optimizer step; how many steps "
        f"that makes is known when they are packed, and a step of the curriculum is {sums.rows_per_round:,} rows"
    )


def _show_curriculum(console: Any, preview: Preview) -> None:
    """Planned share of a step, share of all rows so far, and how often a source has been used up."""
    from rich.table import Table

    names = [total.source for total in preview.sources]
    table = Table("step", *names, title="curriculum: planned share / share so far / passes", title_justify="left")
    for row in preview.steps:
        cells = [f"{row.planned[n]:.3f} / {row.realised[n]:.3f} / {row.passes[n]:.2f}" for n in names]
        table.add_row(str(row.step), *cells)
    table.add_section()
    table.add_row("rows drawn", *[f"{t.draws:,} ({t.distinct:,} distinct of {t.size:,})" for t in preview.sources])
    console.print()
    console.print(table)
