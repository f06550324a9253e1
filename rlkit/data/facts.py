"""People, places and relations: the facts of the made-up world, and the sentences that tell them.

A context speaks of few people and few relations, so that names and relations in it recur and a question is answered
only by matching both. This module knows facts and words; what is asked about them is `rlkit.data.synthetic`'s.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

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
SPLITS = ("train", "test")
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
