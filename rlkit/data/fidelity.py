"""Pairs of questions for context fidelity: a world that can be learnt by heart, and contexts that contradict it.

Every fact of the world is fixed by its number, so a model trained on factual rows comes to know it. A counterfactual row
asks the same over the same sentences, with another place in the answering one. Knows no prompt and no model.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

from rlkit.data import synthetic
from rlkit.data.demonstrations import demonstrated
from rlkit.data.facts import ATTRIBUTES, LINK, NAMES, PLACES, SPLITS, Fact, question, split_of
from rlkit.data.record import Passage, Record
from rlkit.data.synthetic import LEVELS
from rlkit.errors import ConfigError, nearest

VERSIONS = ("factual", "counterfactual")
PEOPLE = 16


class World(NamedTuple):
    """A fixed world: who visited, painted, ... which place, and who hired whom, in one ring."""

    people: tuple[str, ...]
    relations: tuple[str, ...]
    values: Mapping[tuple[str, str], str]

    def fact(self, name: str, relation: str) -> Fact:
        return Fact(name, relation, self.values[name, relation])


@lru_cache(maxsize=8)
def make_world(number: int = 0) -> World:
    """The world of this number.

    >>> str(make_world(0).fact("Mara", "hired")) == str(make_world(0).fact("Mara", "hired"))
    True
    >>> len(make_world(0).values)
    64
    """
    rng = random.Random(f"world {number}")
    people = tuple(rng.sample(NAMES, PEOPLE))
    attributes = tuple(rng.sample(ATTRIBUTES, 3))
    values = {(name, relation): rng.choice(PLACES) for name in people for relation in attributes}
    values.update({(name, LINK): people[place - 1] for place, name in enumerate(people)})
    return World(people, (*attributes, LINK), values)


def generate(
    level: str = "hard",
    pairs: int = 200,
    seed: int = 0,
    *,
    world: int = 0,
    split: str = "train",
    version: str | None = None,
    demonstrations: bool = False,
) -> Iterator[Record]:
    """Yield the two rows of each pair, the factual one first; with `version` the rows of that version alone.

    The columns are `pair`, `version` and `prior_answer`, the world's answer, which is right on the factual row. Both
    contexts belong to `split`. The levels are those of the synthetic world. `demonstrations` adds the completion that a
    row's own labels describe, for SFT. Raises ConfigError for an unknown or impossible option, before the first row.

    >>> fact, change = generate("easy", pairs=1, seed=3)
    >>> fact["question"] == change["question"], fact["golds"] == [change["prior_answer"]], fact["golds"] == change["golds"]
    (True, True, False)
    >>> list(generate("easy", pairs=1, version="factul"))
    Traceback (most recent call last):
    rlkit.errors.ConfigError: version: 'factul' is unknown; there are factual, counterfactual. Did you mean 'factual'?
    """
    for option, value, allowed in (("level", level, LEVELS), ("split", split, SPLITS), ("version", version, VERSIONS)):
        if value not in allowed and not (option == "version" and value is None):
            known = ", ".join(allowed)
            raise ConfigError(f"{option}: {value!r} is unknown; there are {known}.{nearest(str(value), allowed)}")
    for option, number, least in (("pairs", pairs, 1), ("seed", seed, 0), ("world", world, 0)):
        if type(number) is not int or number < least:
            raise ConfigError(f"{option}: {number!r} is not a whole number of at least {least}.")
    if not isinstance(demonstrations, bool):
        raise ConfigError(f"demonstrations: {demonstrations!r} is not true or false.")
    rows = (row for number in range(pairs) for row in _pair(level, seed, number, world, split))
    chosen = (row for row in rows if version in (None, cast(Any, row)["version"]))
    return map(demonstrated, chosen) if demonstrations else chosen


from_source = partial(synthetic.from_source, made=generate)


def _pair(level: str, seed: int, number: int, world: int, split: str) -> Iterator[Record]:
    name = f"fidelity-{split}-{level}-{world}-{seed}-{number}"
    rng = random.Random(name)
    hops, counts = LEVELS[level]["hops"], LEVELS[level]["facts"]
    count = rng.choice(counts)
    while True:
        facts = draw_facts(rng, make_world(world), count, hops)
        used = {fact.value for fact in facts}
        other = facts[hops - 1]._replace(value=rng.choice([place for place in PLACES if place not in used]))
        changed = [*facts[: hops - 1], other, *facts[hops:]]
        if len(used) == count and split_of(map(str, facts)) == split_of(map(str, changed)) == split:
            break
    order = rng.sample(range(count), count)
    prior = facts[hops - 1].value
    for version, told in zip(VERSIONS, (facts, changed), strict=True):
        record = Record(
            id=f"{name}-{version}",
            task="care",
            kind="text",
            question=question(told[0].subject, told[hops - 1].relation, hops),
            context=[Passage(title="", text=str(told[position])) for position in order],
            golds=[told[hops - 1].value],
            evidence=[str(fact) for fact in told[:hops]],
            source="synthetic_fidelity",
            hops=hops,
        )
        yield cast(Record, {**record, "pair": name, "version": version, "prior_answer": prior})


def draw_facts(rng: random.Random, world: World, count: int, hops: int) -> list[Fact]:
    """Draw `count` facts of a world of which a chain of `hops` answers one question, and put that chain first.

    Among the others are one with the last name of the chain, one with its relation and, for more than one hop, one more
    link, as in `facts.draw_facts`. Two of them may have one value.
    """
    names = [rng.choice(world.people)]
    while len(names) < hops:
        names.append(world.values[names[-1], LINK])
    last, asked = names[-1], rng.choice(world.relations[:-1])
    others = rng.sample([name for name in world.people if name not in names], 2 + count // 3)
    wanted = [*((name, LINK) for name in names[:-1]), (last, asked)]
    wanted += [(last, rng.choice(_without(world.relations[:-1], asked))), (others[0], asked)]
    if hops > 1:
        wanted.append((others[0], LINK))
    free = [(name, relation) for name in [*names, *others] for relation in world.relations]
    wanted += rng.sample([pair for pair in free if pair not in wanted], count - len(wanted))
    return [world.fact(*pair) for pair in wanted]


def _without(values: Sequence[str], value: str) -> list[str]:
    return [other for other in values if other != value]
