"""The metrics of evaluation by name. A metric is a reward-like part: what one completion of one row is worth.

`Sample -> float | None`, where `None` means that the row cannot be judged, whatever the completion. The figures of many rows
(`evidence_bleu_corpus`, `fidelity_gap`) give numbers that add up over rows instead, and `figure`, which turns their sums into
the figure. Knows names and how each is printed; the formulas stand with the metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from rewards.format import care_format
from rewards.grounding import quotes_in_context
from rewards.sample import Sample
from rlkit.errors import ConfigError, nearest
from rlkit.evaluation.metrics.answers import answer_form, answer_items, em, f1, final_answer, in_form, is_memory
from rlkit.evaluation.metrics.evidence import (
    evidence_bleu,
    evidence_bleu_corpus,
    evidence_facts,
    evidence_rouge_l,
    session_overlap,
    temporal,
)
from rlkit.evaluation.metrics.fidelity import em_on, fidelity_gap, prior_answer
from rlkit.evaluation.metrics.locomo import locomo_f1
from rlkit.evaluation.metrics.time_dialog import time_dialog, time_dialog_em

__all__ = [
    "METRICS",
    "UNITS",
    "Metric",
    "Unit",
    "answer_form",
    "answer_items",
    "final_answer",
    "metrics_named",
    "unit_of",
]

Value = float | Sequence[float] | None


class Metric(Protocol):
    """What one completion is worth: a number, numbers that add up over rows, or `None` where the row cannot be judged."""

    def __call__(self, sample: Sample, /) -> Value: ...


@dataclass(frozen=True)
class in_format:
    """1 if the completion keeps to the format of its row's task, CARE's or Memory-T1's, else 0.

    >>> in_format()(Sample(task="memory_t1", completion='{"selected_memory": [], "answer": "B"}'))
    1.0
    """

    needs: ClassVar[tuple[str, ...]] = ()
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, sample: Sample) -> float:
        return float(sample.memory.ok) if is_memory(sample) else care_format()(sample)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "em": em(),
        "f1": f1(),
        "locomo_f1": locomo_f1(),
        "time_dialog": time_dialog(),
        "time_dialog_em": time_dialog_em(),
        "format": in_format(),
        "grounding": quotes_in_context(),
        "evidence_precision": evidence_facts("precision"),
        "evidence_recall": evidence_facts("recall"),
        "evidence_f1": evidence_facts("f1"),
        "evidence_bleu": evidence_bleu(),
        "evidence_bleu_corpus": evidence_bleu_corpus(),
        "evidence_rouge_l": evidence_rouge_l(),
        "session_jaccard": session_overlap("jaccard"),
        "session_precision": session_overlap("precision"),
        "session_recall": session_overlap("recall"),
        "temporal": temporal(),
        "factual_em": em_on("factual"),
        "counterfactual_em": em_on("counterfactual"),
        "fidelity_gap": fidelity_gap(),
        "prior_answers": prior_answer(),
        "form_care": in_form("care"),
        "form_memory": in_form("memory"),
        "form_plain": in_form("plain"),
    }
)


@dataclass(frozen=True)
class Unit:
    """How a metric is printed: its title, and its value times `scale` with so many `digits`."""

    title: str
    scale: float = 100.0
    digits: int = 1


# The papers print percentages, except for ROUGE-L; rewards keep their own scale.
UNITS: Mapping[str, Unit] = MappingProxyType(
    {
        "em": Unit("EM"),
        "f1": Unit("F1"),
        "locomo_f1": Unit("LoCoMo F1"),
        "time_dialog": Unit("Time-Dialog F1"),
        "time_dialog_em": Unit("Time-Dialog EM"),
        "evidence_bleu": Unit("BLEU, mean of rows"),
        "evidence_bleu_corpus": Unit("BLEU, corpus"),
        "evidence_rouge_l": Unit("ROUGE-L", scale=1.0, digits=3),
        "temporal": Unit("temporal consistency", scale=1.0, digits=3),
        "factual_em": Unit("factual EM"),
        "counterfactual_em": Unit("counterfactual EM"),
        "form_care": Unit("answers in CARE format"),
        "form_memory": Unit("answers in JSON"),
        "form_plain": Unit("answers in plain text"),
    }
)


def unit_of(metric: str) -> Unit:
    """How a metric is printed; a percentage under its own name unless `UNITS` says otherwise.

    >>> unit_of("evidence_rouge_l").digits, unit_of("session_recall").title
    (3, 'session recall')
    """
    return UNITS.get(metric) or Unit(metric.replace("_", " "))


def metrics_named(names: Iterable[str], *, strict: bool = False) -> dict[str, Metric]:
    """The metrics of these names, checked: known, and their packages installed; else a `ConfigError`.

    With `strict`, an answer that is not in the format of its row's task counts as empty.

    >>> metrics_named(["em"], strict=True)
    {'em': em(strict=True)}
    """
    chosen: dict[str, Metric] = {}
    for name in names:
        metric: Any = METRICS.get(name)
        if metric is None:
            raise ConfigError(f"metric {name!r} is unknown; there are {', '.join(METRICS)}.{nearest(name, METRICS)}")
        missing = [package for package in getattr(metric, "requires", ()) if find_spec(package) is None]
        if missing:
            raise ConfigError(f'metric {name!r} needs {", ".join(missing)}: pip install "grounded-rl[eval]".')
        can_be_strict = any(field.name == "strict" for field in fields(metric))
        chosen[name] = replace(metric, strict=True) if strict and can_be_strict else metric
    return chosen
