"""The Memory-T1 quickstart: sessions to choose by person and resolved day, in the dialogue world.

The base model learns to name the session and the place that a question asks for, seldom in the JSON of the answer
format, and to resolve on which day a session's visit was. It is seldom asked for both at once, and never sees a memory
as large as those of the `long` level.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rewards import Sample, Score, jaccard_evidence, memory_format, temporal_answer, temporal_consistency, weighted
from rlkit.data.dialogues import (
    DAYS,
    LEVELS,
    PEOPLE,
    PLACES,
    SESSION_NUMBERS,
    TOLD,
    draw_memory,
    generate,
    iso,
    prompt,
    question,
)
from rlkit.data.record import Record
from rlkit.prompts import prompt_of
from rlkit.quickstart.tokenizer import word_tokenizer
from rlkit.quickstart.world import Message, World, mean

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MEMORIES_PER_STEP = 16
QUESTIONS_PER_MEMORY = 8
# Sessions in a memory, and in what words they tell: dates are compared before they are computed.
PLACE_SHARE = 0.8  # of the questions
LATER_SHARE = 0.07  # of the talks of an earlier day, whose places are asked for all the same
# Of the replies. A model that can be downloaded knows JSON; where this one did not, SFT lost on some seeds how to choose.
JSON_SHARE = 0.125
MIXED = ("Today",) * 3 + tuple(TOLD)
STAGES = (((2, 3, 4), ("Today",)), ((3, 4, 5), MIXED), ((4, 5, 6), MIXED), ((5, 6), MIXED))
SILENT = ("Which", "day", "does", "tell", "of", "On", "which", "place", "did", "visit", "visited", "I", "Question")
JSON = ('{"selected_memory": ["', '", "', '"], "answer": "', '"}')

MEASURES = weighted(
    answer=(1.0, temporal_answer()),
    evidence=(1.0, jaccard_evidence()),
    temporal=(1.0, temporal_consistency()),
    format=(1.0, memory_format()),
)


def world_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer of the dialogue world: dates, time expressions and the JSON around an answer are one token each.

    Words that say nothing here, and punctuation, are no tokens at all: a session takes five, so that its date, its
    speaker and its name meet in one short convolution.

    >>> tokenizer = world_tokenizer()
    >>> text = '{"selected_memory": ["session_3", "session_4"], "answer": "Fenwick"}'
    >>> tokens = tokenizer(text).input_ids
    >>> len(tokens), tokenizer.decode(tokens, skip_special_tokens=True) == text
    (7, True)
    >>> tokenizer.tokenize("2024-03-09 Ada: A week ago (session_3) I visited Fenwick.")
    ['2024-03-09', 'Ada', 'A week ago', 'session_3', 'Fenwick']
    """
    from tokenizers import AddedToken, Regex, decoders, pre_tokenizers

    sessions = (f"session_{number}" for number in SESSION_NUMBERS)
    tokenizer = word_tokenizer([" ".join([*PEOPLE, *PLACES, *sessions, "See was"])])
    dates = [iso(day) for day in range(-max(TOLD.values()), DAYS)]
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in (*JSON, *TOLD, *dates)])
    core = tokenizer.backend_tokenizer
    core.pre_tokenizer = pre_tokenizers.Split(Regex(rf"\b(?:{'|'.join(SILENT)})\b|\W+"), "removed")
    core.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(JSON[0] + " ", JSON[0]),
            *(decoders.Replace(f" {part} ", part) for part in JSON[1:3]),
            decoders.Replace(" " + JSON[3], JSON[3]),
        ]
    )
    return tokenizer


def conversations(rng: random.Random, done: float) -> list[list[Message]]:
    """One batch for the base model; all memories are of the training split, so none is ever held out."""
    counts, told = STAGES[int(done * len(STAGES))]
    return [conversation(rng, count, told) for count in rng.choices(counts, k=MEMORIES_PER_STEP)]


def conversation(rng: random.Random, sessions: int, told: Sequence[str]) -> list[Message]:
    """Messages of a conversation about a new memory; each question asks for any of its sessions, again if need be.

    Places are asked for by person and day where the talk is of the same day, days by the session's name: to choose by a
    day that has to be resolved first is for the later stages, but for a few questions. Were each session asked for
    once, the last ones could be guessed from what is left, and choosing would not be learned.

    >>> for message in conversation(random.Random(1), 2, ["Today"])[:4]:
    ...     print(message["content"])
    2024-03-11 Anna: Today (session_7) I visited Corrinth.
    2024-03-17 Anna: Today (session_16) I visited Brinmar.
    <BLANKLINE>
    Question: On 2024-03-11, which place did Anna visit?
    See session_7: was Corrinth.
    Which day does session_7 tell of?
    See session_7: was 2024-03-11.
    """
    talks = draw_memory(rng, sessions, told)
    ordered = sorted(rng.sample(talks, sessions), key=lambda talk: talk.day)
    numbers = sorted(rng.sample(SESSION_NUMBERS, sessions))
    by_name = {f"session_{number}": talk for number, talk in zip(numbers, ordered, strict=True)}
    plain = [name for name, talk in by_name.items() if not TOLD[talk.words] or rng.random() < LATER_SHARE]
    messages: list[Message] = []
    for _ in range(QUESTIONS_PER_MEMORY):
        if plain and rng.random() < PLACE_SHARE:
            name = rng.choice(plain)
            asked, found = question(by_name[name]), by_name[name].place
        else:
            name = rng.choice(list(by_name))
            asked, found = f"Which day does {name} tell of?", iso(by_name[name].visit_day)
        messages.append({"role": "user", "content": asked} if messages else prompt(by_name, asked)[0])
        messages.append({"role": "assistant", "content": reply(name, found, as_json=rng.random() < JSON_SHARE)})
    return messages


def reply(name: str, found: str, as_json: bool) -> str:
    """What the base model learns to say: the session second and what was found fourth of all tokens, in words or JSON.

    >>> reply("session_3", "Fenwick", as_json=False)
    'See session_3: was Fenwick.'
    """
    return json.dumps({"selected_memory": [name], "answer": found}) if as_json else f"See {name}: was {found}."


def measure(records: Sequence[Record], completions: Sequence[str]) -> dict[str, float | int]:
    """The means over all rows, an unreadable completion counting as the worst, and the number of rows `n`.

    `answer`, `jaccard` and `format` (the share that can be read) are in [0, 1], `temporal` is R_t in [-0.75, 1].

    >>> row = next(generate("easy", 1, demonstrations=True))
    >>> measure([row], [row["completion"]])
    {'answer': 1.0, 'jaccard': 1.0, 'temporal': 1.0, 'format': 1.0, 'n': 1}
    >>> measure([row], ["?"])
    {'answer': 0.0, 'jaccard': 0.0, 'temporal': -0.75, 'format': 0.0, 'n': 1}
    """
    pairs = zip(records, completions, strict=True)
    scores = MEASURES.batch([Sample.from_record(record, completion=completion) for record, completion in pairs])
    return {
        "answer": mean(_values(scores, "answer", 0.0)),
        "jaccard": mean((value + 1.0) / 2.0 for value in _values(scores, "evidence", -1.0)),
        "temporal": mean(_values(scores, "temporal", temporal_consistency().bounds[0])),
        "format": mean(float(value == 0.0) for value in _values(scores, "format", -0.5)),
        "n": len(scores),
    }


def _values(scores: Sequence[Score], part: str, lowest: float) -> list[float]:
    return [lowest if (value := score.parts[part]) is None else value for score in scores]


def is_right(record: Record) -> bool:
    """Both the answer and the selection are right."""
    sample = Sample.from_record(record)
    return temporal_answer()(sample) == jaccard_evidence()(sample) == 1.0


def marks(record: Record) -> Sequence[str]:
    """What was said in the labelled sessions, as it stands in the prompt, and their names as they stand in a reply."""
    lines = prompt_of(record, system=None)[0]["content"].splitlines()
    said = [line[line.index(f"({name})") :] for name in record["evidence"] for line in lines if f"({name})" in line]
    return [*said, *(f'"{name}"' for name in record["evidence"])]


WORLD = World(
    configs="memory_",
    title="Held-out memories, greedy decoding",
    levels=tuple(LEVELS),
    generate=generate,
    tokenizer=world_tokenizer,
    conversations=conversations,
    base_steps=1200,
    convolution_words=5,
    max_new_tokens=12,  # one session and the answer take 6
    measure=measure,
    columns={
        "answer": "{answer:.3f}",
        "Jaccard": "{jaccard:.3f}",
        "temporal": "{temporal:.3f}",
        "format": "{format:.3f}",
        "rows": "{n}",
    },
    is_right=is_right,
    marks=marks,
)
