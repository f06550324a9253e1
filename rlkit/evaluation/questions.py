"""The questions of an evaluation: suites, their data and their contexts, as prompts in one order that all processes share.

Knows no answer. All that can be wrong with suites and data is found here, before any model is loaded.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from rlkit.data.layout import Report
from rlkit.data.load import Loaded, load_source
from rlkit.data.record import Record
from rlkit.errors import ConfigError, DataError
from rlkit.evaluation.contexts import Policy, show
from rlkit.evaluation.metrics import Metric
from rlkit.evaluation.suite import Suite, load_suite, suite_names
from rlkit.plain import plain

_log = logging.getLogger(__name__)
FRAME_TOKENS = 128  # left for chat template and system message where a limit is lowered to a model's window


@dataclass(frozen=True)
class Question:
    """One prompt and the record that its answer is graded on."""

    suite: str
    subset: str
    context: str
    record: Record
    messages: list[dict[str, str]]

    def key(self, identity: str) -> str:
        """The name of this model's answer to this prompt."""
        told = json.dumps([identity, self.messages], sort_keys=True).encode()
        digest = hashlib.blake2b(told, digest_size=12).hexdigest()
        return f"{self.suite}/{self.subset}/{self.context}/{self.record['id']}/{digest}"


@dataclass(frozen=True)
class Asked:
    """A suite with its data, and the context policies that it is asked with."""

    suite: Suite
    sources: Mapping[str, Loaded]
    policies: Mapping[str, Policy]

    @cached_property
    def scorers(self) -> dict[str, Metric]:
        return self.suite.scorers()

    @property
    def rows(self) -> int:
        """How many questions there are at most, over all contexts."""
        return len(self.policies) * sum(len(loaded.rows) for loaded in self.sources.values())

    @property
    def left_out(self) -> int:
        """How many rows of the data were left out when it was read."""
        return sum(count.rows for loaded in self.sources.values() for count in loaded.report.dropped.values())

    def records(self) -> Iterator[tuple[str, Record]]:
        """Every record with its subset."""
        for name, loaded in self.sources.items():
            for record in loaded.records():
                yield subset_of(record, name, self.suite), record

    def labels(self) -> Iterator[tuple[str, Record]]:
        """Every record with its subset, but without passages and sessions, which are nearly all of its size."""
        for name, loaded in self.sources.items():
            small = [column for column in loaded.rows.column_names if column not in ("context", "sessions")]
            for record in Loaded(loaded.rows.select_columns(small), loaded.report).records():
                yield subset_of(record, name, self.suite), record

    def questions(
        self, tokenizer: Any, reports: Mapping[str, Report], share: tuple[int, int] = (0, 1)
    ) -> Iterator[Question]:
        """The questions of one process's share (number, count), one at a time; what becomes of rows goes into `reports`.

        `reports` holds one for each context.
        """
        number = 0
        for context, policy in self.policies.items():
            for subset, record in self.records():
                mine = number % share[1] == share[0]
                number += 1
                if not mine:
                    continue
                shown = show(record, policy, self.suite.prompt, subset, tokenizer, reports[context])
                if shown is not None:
                    yield Question(self.suite.name, subset, context, shown.record, shown.messages)


def load_questions(
    suites: Sequence[Suite], contexts: Sequence[str] | None = None, limit: int | None = None
) -> list[Asked]:
    """The suites with their data; `limit` keeps the first rows of every source.

    `contexts` names policies in place of each suite's own; ["all"] stands for all that the suite names. Raises
    `ConfigError` or `DataError` for whatever would fail later.
    """
    every = contexts is not None and list(contexts) == ["all"]
    names = [suite.name for suite in suites]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--suite: {name} is there twice; its figures would be mixed, so name it once.")
    checked = []
    for suite in suites:
        suite.scorers()
        chosen = [suite.context] if contexts is None else list(suite.contexts) if every else contexts
        checked.append((suite, {name: suite.policy(name) for name in chosen}))
    asked = []
    for suite, policies in checked:
        sources = {name: _load(suite, name, spec, limit) for name, spec in suite.data.items()}
        one = Asked(suite, sources, policies)
        _check_labels(one)
        asked.append(_fitting(one, named=not every))
    return asked


def within_window(asked: Asked, window_tokens: int | None) -> Asked:
    """The suite with limits that leave a model of this window room to answer."""
    if window_tokens is None:
        return asked
    most = room(window_tokens, asked.suite)
    lowered = {
        name: replace(policy, max_tokens=most)
        if policy.max_tokens is not None and policy.max_tokens > most > 1
        else policy
        for name, policy in asked.policies.items()
    }
    return replace(asked, policies=lowered)


def room(window_tokens: int, suite: Suite) -> int:
    """How many tokens of a message leave a model of this window room for the suite's answers."""
    return window_tokens - suite.max_new_tokens - FRAME_TOKENS


def on_whole_records(asked: Asked) -> Asked:
    """The suite with answers graded on all that a question has, for answers of which nobody says what was shown."""
    whole = {
        name: policy if policy.policy in ("full", "middle") else Policy("full")
        for name, policy in asked.policies.items()
    }
    return replace(asked, policies=whole)


def subset_of(record: Mapping[str, Any], source: str, suite: Suite) -> str:
    """The part of the suite that a record belongs to."""
    if suite.subset_by is None:
        return source
    value = record.get(suite.subset_by)
    if value is None:
        raise DataError(f"suite {suite.name}: row {record['id']}: has no column {suite.subset_by!r} (subset_by).")
    return str(value)


def _load(suite: Suite, name: str, spec: Mapping[str, Any], limit: int | None) -> Loaded:
    where = f"suite {suite.name}: data.{name}"
    given = plain(spec)
    if limit is not None:
        given["limit"] = min(limit, given.get("limit") or limit)
    try:
        return load_source(given, where)
    except (ConfigError, DataError) as error:
        shipped = load_suite(suite.name).data.get(name, {}) if suite.name in suite_names() else {}
        if "path" not in spec or spec["path"] != shipped.get("path"):
            raise  # a place of the user's own, which the message names already
        hint = (
            f"\nA file of yours stands in a config: `suites: {{{suite.name}: {{data: {{{name}: {{path: FILE}}}}}}}}`, or on the "
            f"command line: suites.{suite.name}.data.{name}.path=FILE."
        )
        raise type(error)(f"{error}{hint}") from error


def _fitting(asked: Asked, named: bool) -> Asked:
    """The suite without contexts that can show no row, which would leave empty tables; an error for one that was `named`."""
    fitting = {}
    for name, policy in asked.policies.items():
        refusals = (policy.refusal(record) for _, record in asked.labels())
        reason = next(refusals, None)
        if reason is None or not all(refusals):
            fitting[name] = policy
            continue
        told = f"suite {asked.suite.name}: context {name} can show none of its rows ({reason})"
        if named:
            others = ", ".join(other for other in asked.suite.contexts if other != name) or "full"
            raise ConfigError(f"{told}; leave it out, or take another: {others}.")
        _log.info("%s, so it is left out", told)
    return replace(asked, policies=fitting)


def _check_labels(asked: Asked) -> None:
    """Rows without what a metric needs, or with one id, cannot be scored; that must not show after hours of answers."""
    suite = asked.suite
    needs = {field: name for name, metric in asked.scorers.items() for field in getattr(metric, "needs", ())}
    needs = {field: name for field, name in needs.items() if field not in ("context", "sessions")}  # no labels
    seen: set[tuple[str, str]] = set()
    for subset, record in asked.labels():
        key = (subset, record["id"])
        if key in seen:
            raise DataError(f"suite {suite.name}: {subset}: two rows have the id {record['id']!r}; give each its own.")
        seen.add(key)
        for field, metric in needs.items():
            if not record.get(field):
                raise DataError(
                    f"suite {suite.name}: {subset}: row {record['id']} has no {field}, which the metric {metric} needs; "
                    "take the labelled file, or leave the metric out of the suite."
                )
