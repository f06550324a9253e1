"""What of a record its prompt shows: candidate sessions of a memory, and passages within the token budget.

The result is kept beside the converted data, so that a source is tokenised once. Knows tokenizers as something that
counts; knows no trainer and no plan.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit import prompts
from rlkit.config import Config
from rlkit.data import cache, files
from rlkit.data.budget import fit
from rlkit.data.layout import Report
from rlkit.data.load import Loaded
from rlkit.data.record import Record
from rlkit.errors import DataError
from rlkit.memory.candidates import Candidates

if TYPE_CHECKING:
    from rlkit.sources import Sources


def fitted(config: Config, sources: Sources, tokenizer: Any) -> Sources:
    """The sources as training shows them; where `shortens` says that nothing limits a row, the sources as they are.

    Passages are dropped whole, distractors first; sessions are chosen as `memory:` says. A row that would have to lose
    all its evidence is left out, and so is one of SFT that is longer than `train.max_length`, because a cut would take
    its answer. All of it is counted in the source's report. Raises `DataError` where no row is left.
    """
    if not shortens(config):
        return sources
    tokens = hashlib.blake2b(tokenizer.backend_tokenizer.to_str().encode(), digest_size=16).hexdigest()
    made = {}
    for name, source in sources.loaded.items():
        rows = [Path(file["filename"]).stem for file in source.rows.cache_files]
        options = [
            config.to_dict()["sources"][name],
            asdict(config.prompt),
            config.to_dict()["memory"],
            _longest(config),
        ]
        key = cache.key("fitted", _code(), rows, options, tokens, tokenizer.chat_template)
        made[name] = _kept(config, name, source, tokenizer, cache.default_folder() / key)
    return type(sources)(made)


def shortens(config: Config) -> bool:
    """Whether anything in the config depends on how many tokens a row has."""
    return config.prompt.max_tokens is not None or config.memory is not None or _longest(config) is not None


def _longest(config: Config) -> int | None:
    """The tokens that prompt and completion of an SFT row may have together."""
    return config.setting("max_length") if config.method == "sft" else None


@functools.cache
def _code() -> list[str]:
    here = Path(__file__)
    return [
        files.digest(path) for path in (here, Path(prompts.__file__), *sorted((here.parent / "memory").glob("*.py")))
    ]


def _kept(config: Config, name: str, source: Loaded, tokenizer: Any, target: Path) -> Loaded:
    arrow, stored = target.with_suffix(".arrow"), target.with_suffix(".json")
    rows = cache.open_rows(arrow)
    if rows is None or not stored.is_file():
        report = Report()
        records = _fit_all(config, source, tokenizer, report)

        def fill(draft: Path) -> None:
            cache.write_rows(draft, records, report)
            cache.write(stored, lambda path: _write_report(path, report))

        cache.write(arrow, fill)
        rows = cache.open_rows(arrow)
    report = Report.from_dict(json.loads(stored.read_text(encoding="utf-8")))
    if rows is None or not len(rows):
        raise DataError(f"sources.{name}: no row fits into its prompt, so there is nothing to train on.\n{report}")
    return Loaded(rows, report)


def _write_report(path: Path, report: Report) -> None:
    path.write_text(json.dumps(report.to_dict()), encoding="utf-8")


def _fit_all(config: Config, source: Loaded, tokenizer: Any, report: Report) -> Iterator[Record]:
    measure, longest = Measure(tokenizer, config.prompt.system), _longest(config)
    choose = None if config.memory is None else Candidates.from_config(config.to_dict()["memory"])
    for record in source.records():
        shown = fit_record(record, choose, config.prompt.max_tokens, measure, report)
        if shown is None:
            continue
        if longest is not None and measure.whole(shown) > longest:
            report.drop(f"prompt and completion are over train.max_length = {longest}", record["id"])
            continue
        report.keep()
        yield shown


class Measure:
    """Lengths in a tokenizer's tokens."""

    def __init__(self, tokenizer: Any, system: str | None) -> None:
        self._tokenizer, self._system = tokenizer, system
        self.frame = self.prompt({"question": "", "context": [], "task": "care"})

    def text(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt(self, record: Mapping[str, Any]) -> int:
        """The whole prompt of a record, chat template and all."""
        return self._messages(prompts.prompt_of(record, self._system), add_generation_prompt=True)

    def whole(self, record: Mapping[str, Any]) -> int:
        """Prompt and completion of a record, as SFT trains on them."""
        answer = {"role": "assistant", "content": record.get("completion") or ""}
        return self._messages([*prompts.prompt_of(record, self._system), answer])

    def _messages(self, messages: list[dict[str, str]], **options: bool) -> int:
        return len(self._tokenizer.apply_chat_template(messages, return_dict=True, **options)["input_ids"])


def fit_record(
    record: Record, choose: Candidates | None, max_tokens: int | None, measure: Measure, report: Report
) -> Record | None:
    """The record as its prompt shows it, or None where it is left out; both are counted in `report`.

    Passages of a CARE row may go one by one. A prompt of the record's own, and the sessions that are left of a memory,
    are shown whole or not at all.
    """
    row_id = record["id"]
    if record["task"] == "memory_t1" and choose is not None:
        record, told = choose.apply(record, measure.text)
        told.note(report, row_id)
        if told.problem:
            report.drop(told.problem, row_id)
            return None
    if max_tokens is None:
        return record
    if record["task"] == "memory_t1" or record.get("prompt"):
        if measure.prompt(record) <= max_tokens:
            return record
        report.drop(f"its prompt is over prompt.max_tokens = {max_tokens}", row_id)
        return None
    shorter, told_fit = fit(record, max_tokens, measure.text, other_tokens=measure.frame)
    if shorter is None:
        report.drop(f"over prompt.max_tokens = {max_tokens}: {told_fit.problem}", row_id)
    elif told_fit.dropped:
        report.note("distractor passages dropped to fit prompt.max_tokens", row_id)
    return shorter
