"""Rows made from those of another source: longer contexts, demonstrations of the answer, and questions to practise on.

A longer context holds passages of other rows, which say nothing of what is asked; in a memory they become talk of its
sessions. Demonstrations are what a row's own labels describe. Lookups take the place of a row's question: a conversation
in which each answer is copied from the context. Knows records; knows no file and no tokenizer, so lengths are words.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import count, islice
from typing import TYPE_CHECKING, Any, cast

from rlkit.data import files
from rlkit.data.demonstrations import demonstrated
from rlkit.data.layout import Report
from rlkit.data.lookups import MAX_LOOKUPS, lookups
from rlkit.data.record import Passage, Record, to_record
from rlkit.errors import ConfigError, DataError, nearest
from rlkit.prompts import chat_prompt

if TYPE_CHECKING:
    import datasets

FORMAT = "derived"
MAX_WORDS = 1_000_000
MIN_GOLD_CHARS = 4  # a shorter answer ("no", "7") stands in passages that have nothing to do with it
OWN_PROMPTS = ("dialogues",)  # sources whose prompts only arrange their fields, so that another can be made
ROWS_MADE = ("synthetic", "dialogues")  # worlds that make as many rows as are wanted


@dataclass(frozen=True)
class Options:
    """A source entry `{format: derived, of: SOURCE, ...}`.

    `of` is the source whose rows these are. `words` fills each context with passages of the source `with`, by default
    of `of` itself, up to so many words, or up to a number drawn between two. `demonstrations` adds the completion that
    a row's labels describe, `lookups` asks up to so many questions about the context instead of the row's own. `rows`
    is their number; a source that has fewer begins again, with other passages and lookups. A made-up world in `of`
    takes this `seed`, and as many rows, where it says nothing else.
    """

    of: Mapping[str, Any]
    fill: Mapping[str, Any] | None = None
    words: tuple[int, int] | None = None
    rows: int | None = None
    lookups: int = 0
    demonstrations: bool = False
    seed: int = 0

    @classmethod
    def from_config(cls, spec: Mapping[str, Any], where: str = "source") -> Options:
        """The checked entry; raises `ConfigError` that begins with its config path.

        >>> Options.from_config({"format": "derived", "of": {"format": "synthetic"}, "word": 5}, "sources.long")
        Traceback (most recent call last):
        rlkit.errors.ConfigError: sources.long.word: no such key; there are of, with, words, rows, lookups, demonstrations, seed. Did you mean 'words'?
        """
        known = ["with" if field.name == "fill" else field.name for field in fields(cls)]
        given = {key: value for key, value in spec.items() if key != "format"}
        for key in given:
            if key not in known:
                raise ConfigError(
                    f"{where}.{key}: no such key; there are {', '.join(known)}.{nearest(str(key), known)}"
                )
        for key in ("of", "with"):
            if (key == "of" or key in given) and not isinstance(given.get(key), Mapping):
                raise ConfigError(
                    f"{where}.{key}: is {given.get(key)!r:.60}, but must be a source such as {{format: hotpotqa, path: FILE}}."
                )
        seed = _whole(given.get("seed", 0), f"{where}.seed", 0)
        rows = None if given.get("rows") is None else _whole(given["rows"], f"{where}.rows", 1)
        of = {**({"seed": seed} if "path" not in given["of"] else {}), **given["of"]}
        if of.get("format") == FORMAT:
            raise ConfigError(f"{where}.of: is derived itself; put its options and these together in one source.")
        if of.get("format") in ROWS_MADE and rows is not None:
            of.setdefault("rows", rows)
        words = None if given.get("words") is None else _range(given["words"], f"{where}.words")
        fill = given.get("with", of if words else None)
        if given.get("with") is not None and words is None:
            raise ConfigError(f"{where}.with: given, but no words, so nothing is filled; give words, e.g. [200, 2000].")
        if fill is not None and "path" not in fill:
            raise ConfigError(
                f"{where}.with: {'missing' if fill is of else 'is made up'}, but passages of another row of a made-up world "
                "contradict this one's; name a source with a path, e.g. {format: hotpotqa, path: FILE}."
            )
        asked = _whole(given.get("lookups", 0), f"{where}.lookups", 0)
        if asked > MAX_LOOKUPS:
            raise ConfigError(f"{where}.lookups: is {asked}, but a row holds at most {MAX_LOOKUPS} questions.")
        shown = given.get("demonstrations", False)
        if not isinstance(shown, bool):
            raise ConfigError(f"{where}.demonstrations: {shown!r:.60} is not true or false.")
        if asked and shown:
            raise ConfigError(f"{where}: has lookups and demonstrations, but a row has one completion; take one out.")
        if not (asked or shown or words):
            raise ConfigError(f"{where}: changes nothing of its rows; give words, lookups or demonstrations.")
        return cls(of, fill, words, rows, asked, shown, seed)


def records(
    options: Options, of: datasets.Dataset, fill: datasets.Dataset | None, report: Report, where: str
) -> Iterator[Record]:
    """The rows that the options make of those of `of`, with passages of `fill`; row i depends on no other."""
    pool = None if fill is None else fill.select_columns(["id", "context"])
    for number, (turn, row) in enumerate(islice(_rows(of), len(of) if options.rows is None else options.rows)):
        rng = random.Random(f"derived {options.seed} {number}")
        if options.words is not None:
            row = _arranged(row, where)
            words = rng.randint(*options.words)
            added, enough = _passages(row, words - _words(row), cast("datasets.Dataset", pool), rng)
            row = _filled(row, added, rng)
            if not enough:
                report.note("all passages that there are do not suffice for so many words", row["id"])
        made = _asked(row, options.lookups, rng) if options.lookups else row
        if made is None:
            report.drop("nothing in it to look up", row["id"])
            continue
        if options.demonstrations:
            demonstrated(made)
        made["id"] += f"-again{turn}" if turn else ""
        yield made


def _rows(of: datasets.Dataset) -> Iterator[tuple[int, Record]]:
    """Every row, and from the first one on again and again, with the number of the turn."""
    for turn in count():
        for _, row in files.dataset_rows(of, "row"):
            yield turn, to_record(row)


def _arranged(row: Record, where: str) -> Record:
    """The record without a prompt of its own, which would not show what is filled in."""
    if not cast(Any, row).get("prompt"):
        return row
    if row["source"] not in OWN_PROMPTS:
        raise DataError(
            f"{where}: row {row['id']}: brings a prompt of its own, which would not show further passages; take words out."
        )
    return cast(Record, {key: value for key, value in row.items() if key != "prompt"})


def _words(row: Record) -> int:
    texts = [passage["text"] for passage in row.get("context") or ()]
    texts += [said["text"] or "" for session in row.get("sessions") or () for said in session["utterances"]]
    return sum(len(text.split()) for text in texts)


def _passages(row: Record, room_words: int, pool: datasets.Dataset, rng: random.Random) -> tuple[list[Passage], bool]:
    """Passages of other rows up to so many words, and whether there were enough of them.

    They are taken from a random place on, and never one that could answer the row.
    """
    titles = {passage["title"] for passage in row.get("context") or () if passage["title"]}
    seen = {passage["text"] for passage in row.get("context") or ()}
    golds = [gold.casefold() for gold in row["golds"] if len(gold) >= MIN_GOLD_CHARS]
    start = rng.randrange(len(pool))
    found: list[Passage] = []
    for step in range(len(pool)):
        other = pool[(start + step) % len(pool)]
        for passage in other["context"] or () if other["id"] != row["id"] else ():
            text = passage["text"]
            if not text.strip() or text in seen or passage["title"] in titles:
                continue
            if any(gold in text.casefold() for gold in golds):
                continue
            room_words -= len(text.split())
            if room_words < 0:
                return found, True
            seen.add(text)
            found.append(passage)
    return found, False


def _filled(row: Record, added: Sequence[Passage], rng: random.Random) -> Record:
    """The record with further passages: among its own, in their order, or said in its sessions."""
    if row["task"] == "memory_t1":
        sessions = [{**session, "utterances": list(session["utterances"])} for session in row["sessions"]]
        for passage in added if sessions else ():
            talk = rng.choice(sessions)["utterances"]
            speaker = talk[0]["speaker"] if talk else None
            told: dict[str, Any] = {
                "speaker": speaker,
                "text": " ".join(passage["text"].split()),
                "time": None,
                "events": [],
            }
            talk.insert(rng.randint(0, len(talk)), told)
        return cast(Record, {**row, "sessions": sessions})
    own = row["context"]
    places = set(rng.sample(range(len(own) + len(added)), len(own)))
    mine, others = iter(own), iter(added)
    context = [next(mine if place in places else others) for place in range(len(own) + len(added))]
    return cast(Record, {**row, "context": context})


def _asked(row: Record, most: int, rng: random.Random) -> Record | None:
    """The record with a conversation of lookups as its prompt and the last answer as its completion."""
    found = lookups(row, most, rng)
    if not found:
        return None
    prompt: list[dict[str, str]] = []
    for asked, answer in found:
        bare: dict[str, Any] = {"task": "care", "question": asked, "context": []}
        prompt += chat_prompt({**row, "question": asked} if not prompt else bare, system=None)
        prompt.append({"role": "assistant", "content": answer})
    made = {**row, "question": found[-1][0], "golds": [found[-1][1]], "evidence": [], "completion": found[-1][1]}
    return cast(Record, {**made, "kind": "text", "prompt": prompt[:-1]})


def _range(value: Any, where: str) -> tuple[int, int]:
    bounds = [value, value] if isinstance(value, int) else value
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        raise ConfigError(f"{where}: is {value!r:.60}, but must be a number of words or two of them, e.g. [200, 2000].")
    low, high = (_whole(bound, where, 1) for bound in bounds)
    if not low <= high <= MAX_WORDS:
        raise ConfigError(f"{where}: {value!r:.60} must rise and end at {MAX_WORDS:,} at most.")
    return low, high


def _whole(value: Any, where: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{where}: {value!r:.60} is not a whole number of at least {least}.")
    return value
