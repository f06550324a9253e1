"""A seeded made-up world in which an answer has to be looked up: people, places and one fact a sentence.

A context speaks of few people and few relations, so that names and relations in it recur and a question is answered
only by matching both. Values are drawn anew for each context: nothing can be known by heart. This module knows no
prompt and no model.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from rlkit.data.demonstrations import demonstrated
from rlkit.data.facts import PLACES, SPLITS, TYPICAL, Fact, Telling, draw_context, question, split_of
from rlkit.data.record import Passage, Record
from rlkit.errors import ConfigError, nearest

LEVELS: dict[str, dict[str, Any]] = {
    "easy": {"hops": 1, "facts": (4,)},
    "hard": {"hops": 2, "facts": (6, 7, 8)},
    "long": {"hops": 2, "facts": (12,)},
}
MAX_HOPS = 3
MAX_FACTS = len(PLACES)


def generate(
    level: str = "hard",
    rows: int = 1000,
    seed: int = 0,
    *,
    split: str = "train",
    facts: int | Sequence[int] | None = None,
    hops: int | Mapping[int, float] | None = None,
    facts_per_passage: int = 1,
    counterfactual: bool = False,
    typical: float = 0.0,
    paraphrased: float = 0.0,
    rumours: int = 0,
    noise: int = 0,
    labelled: bool = True,
    demonstrations: bool = False,
) -> Iterator[Record]:
    """Yield `rows` records of a level; row i depends on level, seed, split and options, not on `rows`.

    `easy` asks one hop over 4 facts, `hard` two hops over 6 to 8, `long` two hops over 12. `facts` gives other numbers
    of facts (each as likely), `hops` another number of hops or the share of each (`{1: 0.9, 2: 0.1}`).
    `counterfactual` yields, row by row, the same question over the same context with the answering fact changed.
    `typical` is the share of facts whose place is the usual one of their relation: a guess that is often right without
    reading. Where the answering fact is changed, its place is never the usual one.
    `paraphrased` is the share of facts that are told in another word than questions use. `rumours` is the number of
    facts, the answering one first, that a further sentence contradicts ("Supposedly Ada visited Fenwick."); the plain
    sentence is right. `noise` is the number of sentences that answer no question.
    `labelled=False` leaves out the evidence, as most data do. `demonstrations` adds the completion that a row's own
    labels describe, for SFT.

    Raises ConfigError for an unknown or impossible option, before the first row.

    >>> row = next(generate("hard", rows=1, seed=3))
    >>> row["question"], row["golds"], row["hops"], len(row["context"])
    ('Which place has the person hired by Boris explored?', ['Elvanor'], 2, 7)
    >>> row["evidence"]
    ['Boris hired Viktor.', 'Viktor explored Elvanor.']
    >>> list(generate("hrad", rows=1))
    Traceback (most recent call last):
    rlkit.errors.ConfigError: level: 'hrad' is unknown; the synthetic world has easy, hard, long. Did you mean 'hard'?
    """
    _one_of("level", level, LEVELS)
    _one_of("split", split, SPLITS)
    _whole("rows", rows, 1)
    _whole("seed", seed, 0)
    _whole("facts_per_passage", facts_per_passage, 1)
    switches = {"counterfactual": counterfactual, "labelled": labelled, "demonstrations": demonstrations}
    for option, value in switches.items():
        if not isinstance(value, bool):
            raise ConfigError(f"{option}: {value!r} is not true or false.")
    for option, share in (("typical", typical), ("paraphrased", paraphrased)):
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ConfigError(f"{option}: {share!r} is not a share from 0 to 1.")
    for option, number in (("rumours", rumours), ("noise", noise)):
        _whole(option, number, 0)
    shares = _shares(LEVELS[level]["hops"] if hops is None else hops)
    counts = _counts(LEVELS[level]["facts"] if facts is None else facts, max(shares))
    if rumours > min(counts):
        raise ConfigError(
            f"rumours: {rumours} facts are to be contradicted, but a context may have {min(counts)} alone."
        )
    told = Telling(paraphrased, rumours, noise)
    drawn = (
        _row(level, seed, number, split, counts, shares, facts_per_passage, counterfactual, typical, told)
        for number in range(rows)
    )
    made = map(demonstrated, drawn) if demonstrations else drawn
    return made if labelled else map(_unlabelled, made)


def from_source(
    spec: Mapping[str, Any], where: str = "source", made: Callable[..., Iterator[Record]] = generate
) -> Iterator[Record]:
    """The rows of a config's source entry, `{format: synthetic, level: hard, rows: 2000, ...}`: the options of `made`.

    Raises ConfigError that begins with the entry's config path.

    >>> list(from_source({"format": "synthetic", "lvl": "hard"}, "sources.hard"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    rlkit.errors.ConfigError: sources.hard.lvl: no such key; there are level, rows, ... Did you mean 'level'?
    """
    options = {key: value for key, value in spec.items() if key != "format"}
    known = list(inspect.signature(made).parameters)
    for key in options:
        if key not in known:
            raise ConfigError(f"{where}.{key}: no such key; there are {', '.join(known)}.{nearest(str(key), known)}")
    try:
        return made(**options)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from error


def _unlabelled(record: Record) -> Record:
    record["evidence"] = []
    return record


def _row(
    level: str,
    seed: int,
    number: int,
    split: str,
    counts: Sequence[int],
    shares: Mapping[int, float],
    facts_per_passage: int,
    counterfactual: bool,
    typical: float,
    telling: Telling,
) -> Record:
    rng = random.Random(f"{level} {seed} {number} {split}")
    hops = rng.choices(list(shares), weights=list(shares.values()))[0]
    count = rng.choice(counts)
    variant = None
    while variant is None:  # a row is kept only with its variant, so that both runs of `generate` pair row by row
        facts = draw_context(rng, count, hops, split, typical)
        variant = _changed(rng, facts, hops, split, typical)
    answers = {facts[hops - 1].value, variant[hops - 1].value}
    if counterfactual:
        facts = variant
    plain, others = telling.sentences(rng, facts, first=hops - 1, never=answers)
    sentences = [*plain, *others]
    order = rng.sample(range(len(sentences)), len(sentences))
    sentences = [sentences[position] for position in order]
    passages = [
        Passage(title="", text=" ".join(sentences[start : start + facts_per_passage]))
        for start in range(0, len(sentences), facts_per_passage)
    ]
    return Record(
        id=f"synthetic-{split}-{level}-{seed}-{number}" + ("-changed" if counterfactual else ""),
        task="care",
        kind="text",
        question=question(facts[0].subject, facts[hops - 1].relation, hops),
        context=passages,
        golds=[facts[hops - 1].value],
        evidence=plain[:hops],
        source="synthetic",
        hops=hops,
    )


def _changed(rng: random.Random, facts: list[Fact], hops: int, split: str, typical: float) -> list[Fact] | None:
    """The facts with another place at the end of the chain, or None if all such contexts are of the other split."""
    used = {fact.value for fact in facts} | ({TYPICAL[facts[hops - 1].relation]} if typical else set())
    unused = [place for place in PLACES if place not in used]
    for place in rng.sample(unused, len(unused)):
        changed = [*facts[: hops - 1], facts[hops - 1]._replace(value=place), *facts[hops:]]
        if split_of(map(str, changed)) == split:
            return changed
    return None


def _one_of(option: str, value: object, allowed: Collection[str]) -> None:
    if value not in allowed:
        names = ", ".join(allowed)
        raise ConfigError(
            f"{option}: {value!r} is unknown; the synthetic world has {names}.{nearest(str(value), allowed)}"
        )


def _whole(option: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{option}: {value!r} is not a whole number of at least {least}.")


def _shares(hops: int | Mapping[int, float]) -> dict[int, float]:
    shares = dict(hops) if isinstance(hops, Mapping) else {hops: 1.0}
    for number, share in shares.items():
        if number not in range(1, MAX_HOPS + 1) or isinstance(number, bool):
            raise ConfigError(f"hops: {number!r} is not a number of hops; the world has 1 to {MAX_HOPS}.")
        if not isinstance(share, (int, float)) or not 0 <= share < float("inf"):
            raise ConfigError(f"hops: the share {share!r} of {number} hops is not a finite number of at least 0.")
    if sum(shares.values()) <= 0:
        raise ConfigError("hops: all shares are zero, so no row can be drawn; give one a positive share.")
    return {number: float(share) for number, share in shares.items() if share}


def _counts(facts: int | Sequence[int], hops: int) -> list[int]:
    counts = list(facts) if isinstance(facts, Sequence) and not isinstance(facts, str) else [facts]
    least = hops + 2 + (hops > 1)  # the chain, then one fact with the same name, the same relation, the same link
    if not counts:
        raise ConfigError("facts: the list is empty; give the numbers of facts a context may have.")
    for count in counts:
        if not isinstance(count, int) or isinstance(count, bool) or not least <= count <= MAX_FACTS:
            raise ConfigError(
                f"facts: {count!r} is not a number of facts from {least} to {MAX_FACTS}; a {hops}-hop question needs "
                f"its own facts and {least - hops} distractors, and the world has {MAX_FACTS} places."
            )
    return counts
