"""A seeded made-up world in which an answer has to be looked up: people, places and one fact a sentence.

A context speaks of few people and few relations, so that names and relations in it recur and a question is answered
only by matching both. Values are drawn anew for each context: nothing can be known by heart. This module knows no
prompt and no model.
"""

from __future__ import annotations

import hashlib
import inspect
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from rewards import Sample
from rewards.gold import gold_completion
from rlkit.data.record import Passage, Record
from rlkit.errors import ConfigError, nearest

# fmt: off
NAMES = (
    "Ada", "Amir", "Anna", "Bella", "Boris", "Carla", "Cyrus", "Dora", "Dylan", "Elena", "Emil", "Farah",
    "Felix", "Greta", "Gus", "Hana", "Hugo", "Ines", "Ivan", "Jana", "Jonas", "Kira", "Kofi", "Lena",
    "Leo", "Mara", "Milo", "Nadia", "Niko", "Olga", "Omar", "Petra", "Quinn", "Rosa", "Ruben", "Sonia",
    "Tariq", "Uma", "Viktor", "Wanda",
)
# fmt: on
# fmt: off
PLACES = (
    "Ardmoor", "Belcastro", "Brinmar", "Calveth", "Corrinth", "Dalmera", "Drovnik", "Eastmere", "Elvanor",
    "Farrowby", "Fenwick", "Galdrin", "Greymont", "Halvard", "Hestia", "Ironvale", "Islemar", "Jorvale",
    "Kelmore", "Kestrin", "Lorwick", "Lumara", "Marnoth", "Mirefell", "Nardovia", "Norwend", "Oakhurst",
    "Orlenda", "Pellworth", "Pinemar", "Quillon", "Ravenholt", "Rostova", "Selmire", "Stonevik",
    "Tavenor", "Thornby", "Umberton", "Valdris", "Westholm",
)
# fmt: on
ATTRIBUTES = ("visited", "painted", "mapped", "praised", "explored", "described")
LINK = "hired"
RELATIONS = (*ATTRIBUTES, LINK)
OTHERWISE = dict(zip(RELATIONS, ("toured", "drew", "charted", "lauded", "roamed", "depicted", "employed"), strict=True))
RUMOUR = "Supposedly"  # how a sentence begins that contradicts a plain one; the plain one is right
IDLE = ("slept", "smiled", "waited", "laughed")
TYPICAL = dict(zip(ATTRIBUTES, PLACES[::6], strict=False))  # what a spurious prior expects of each attribute

LEVELS: dict[str, dict[str, Any]] = {
    "easy": {"hops": 1, "facts": (4,)},
    "hard": {"hops": 2, "facts": (6, 7, 8)},
    "long": {"hops": 2, "facts": (12,)},
}
SPLITS = ("train", "test")
MAX_HOPS = 3
MAX_FACTS = len(PLACES)
TEST_SHARE = 0.25  # of all contexts; the share costs draws, four for each test row


class Fact(NamedTuple):
    """One sentence of the world.

    >>> str(Fact("Ada", "visited", "Fenwick"))
    'Ada visited Fenwick.'
    """

    subject: str
    relation: str
    value: str

    def __str__(self) -> str:
        return f"{self.subject} {self.relation} {self.value}."


def question(name: str, relation: str, hops: int = 1) -> str:
    """The question for the value at the end of `hops` facts that start at `name`.

    >>> question("Ada", "visited")
    'Which place has Ada visited?'
    >>> question("Ada", "visited", hops=2)
    'Which place has the person hired by Ada visited?'
    >>> question("Ada", "hired")
    'Which person has Ada hired?'
    """
    what = "person" if relation == LINK else "place"
    return f"Which {what} has {f'the person {LINK} by ' * (hops - 1)}{name} {relation}?"


def draw_context(rng: random.Random, count: int, hops: int, split: str = "train", typical: float = 0.0) -> list[Fact]:
    """Draw facts as `draw_facts` does until they belong to `split`; the share `typical` of the places is `TYPICAL`."""
    while True:
        facts = draw_facts(rng, count, hops)
        if typical:
            facts = [
                fact._replace(value=TYPICAL[fact.relation])
                if fact.relation in TYPICAL and rng.random() < typical
                else fact
                for fact in facts
            ]
        if split_of(map(str, facts)) == split:
            return facts


def draw_facts(rng: random.Random, count: int, hops: int) -> list[Fact]:
    """Draw `count` facts in random order of which a chain of `hops` answers one question, and put that chain first.

    Each (name, relation) pair occurs once and each place once. Among the other facts at least one has the name of the
    last fact in the chain, one its relation and, for more than one hop, one the linking relation: no name or
    relation alone leads to the answer. `hops=0` draws facts without a question.

    >>> facts = draw_facts(random.Random(0), count=6, hops=2)
    >>> [facts[0].relation, facts[0].value == facts[1].subject, len(set(facts))]
    ['hired', True, 6]
    """
    people = rng.sample(NAMES, max(hops + 1, 2 + count // 3))
    attributes = rng.sample(ATTRIBUTES, 3)
    places = iter(rng.sample(PLACES, count))

    def complete(name: str, relation: str) -> Fact:
        value = next(places) if relation != LINK else rng.choice([other for other in people if other != name])
        return Fact(name, relation, value)

    chain = [Fact(name, LINK, hired) for name, hired in pairwise(people[:hops])]
    wanted: list[tuple[str, str]] = []
    if hops:
        last, asked = people[hops - 1], attributes[0]
        chain.append(complete(last, asked))
        wanted = [(last, rng.choice(attributes[1:])), (rng.choice(people[: hops - 1] + people[hops:]), asked)]
        if hops > 1:
            wanted.append((rng.choice(people[hops - 1 :]), LINK))
    taken = {fact[:2] for fact in chain} | set(wanted)
    free = [(name, relation) for name in people for relation in (*attributes, LINK)]
    wanted += rng.sample([pair for pair in free if pair not in taken], count - len(chain) - len(wanted))
    return chain + [complete(*pair) for pair in wanted]


class Telling(NamedTuple):
    """How the facts of a context become sentences: see `paraphrased`, `rumours` and `noise` of `generate`."""

    paraphrased: float = 0.0
    rumours: int = 0
    noise: int = 0

    def sentences(
        self, rng: random.Random, facts: Sequence[Fact], first: int = 0, never: Collection[str] = ()
    ) -> tuple[list[str], list[str]]:
        """One sentence a fact, in order, and the further ones. The fact at `first` is contradicted before others are.

        No rumour tells a place of `never`. Without options nothing is drawn.

        >>> facts = [Fact("Ada", "visited", "Fenwick")]
        >>> Telling(paraphrased=1.0, rumours=1, noise=1).sentences(random.Random(1), facts)
        (['Ada toured Fenwick.'], ['Supposedly Ada visited Corrinth.', 'Ada slept.'])
        """
        told = [
            fact._replace(relation=OTHERWISE[fact.relation])
            if self.paraphrased and rng.random() < self.paraphrased
            else fact
            for fact in facts
        ]
        others: list[str] = []
        if self.rumours:
            rest = [fact for fact in facts if fact is not facts[first]]
            for fact in [facts[first], *rng.sample(rest, self.rumours - 1)]:
                known = {fact.subject, fact.value, *never, *(one.value for one in facts if one.relation != LINK)}
                choices = [value for value in (NAMES if fact.relation == LINK else PLACES) if value not in known]
                others.append(f"{RUMOUR} {fact._replace(value=rng.choice(choices))}")
        if self.noise:
            people = sorted({fact.subject for fact in facts})
            others += [f"{rng.choice(people)} {rng.choice(IDLE)}." for _ in range(self.noise)]
        return [str(fact) for fact in told], others


def fingerprint(sentences: Iterable[str]) -> str:
    """Name a context by its sentences, whatever their order.

    >>> fingerprint(["a.", "b."]) == fingerprint(["b.", "a."]) != fingerprint(["a."])
    True
    """
    return hashlib.sha256("\n".join(sorted(sentences)).encode()).hexdigest()


def split_of(sentences: Iterable[str]) -> str:
    """Say to which split a context belongs: the fingerprint decides, so no seed can bring a test context into training.

    >>> split_of(["Ada visited Fenwick."])
    'train'
    """
    return "test" if int(fingerprint(sentences)[:8], 16) < TEST_SHARE * 2**32 else "train"


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
    `demonstrations` adds the completion that a row's own labels describe, for SFT.

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
    for option, value in (("counterfactual", counterfactual), ("demonstrations", demonstrations)):
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
    return map(_demonstrated, drawn) if demonstrations else drawn


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


def _demonstrated(record: Record) -> Record:
    record["completion"] = gold_completion(Sample.from_record(record))
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
