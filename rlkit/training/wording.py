"""Whether a tokenizer and its chat template keep the words that a reward reads.

A tag that is registered as special vanishes when GRPO decodes; a template that removes the reasoning of earlier turns
removes it from the demonstrations of SFT as well. Nothing fails then, and nothing is learned. Knows tokenizers and chat
templates; knows no model and no trainer.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterator
from typing import Any

from rewards import Sample
from rewards.gold import gold_completion
from rewards.parse_care import ANSWER, END_THINK, THINK
from rlkit.config import Config
from rlkit.errors import ConfigError
from rlkit.prompts import prompt_of
from rlkit.sources import Sources
from rlkit.training.tags import TAGS

ROWS_PER_SOURCE = 8
_MARKS = (*TAGS, ANSWER)

Messages = list[dict[str, str]]


def check_wording(config: Config, sources: Sources, tokenizer: Any) -> list[str]:
    """Send answers of every source's first rows through the tokenizer and back; returns what a user should look at.

    For SFT these are the rows' completions as the template writes them, for GRPO the gold answers. Raises `ConfigError`
    where a tag or the answer's mark is lost on the way.
    """
    notes: dict[str, None] = {}
    for name, source in sources.loaded.items():
        for record in itertools.islice(source.records(), ROWS_PER_SOURCE):
            where = f"sources.{name}: row {record['id']}"
            messages = prompt_of(record, config.prompt.system)
            if config.method == "sft":
                completion = str(record.get("completion"))
            else:
                completion = gold_completion(Sample.from_record(record, prompt=messages))
            problem = next(problems(tokenizer, messages, completion, trained=config.method == "sft"), None)
            if problem is not None:
                raise ConfigError(f"{where}: {problem}")
            notes.update(dict.fromkeys(oddities(tokenizer, messages, completion, trained=config.method == "sft")))
    return list(notes)


def problems(tokenizer: Any, messages: Messages, completion: str, *, trained: bool) -> Iterator[str]:
    """What makes training on this answer senseless; `trained` = the answer itself stands in a training row (SFT)."""
    for mark in _lost(completion, _there_and_back(tokenizer, completion)):
        special = tokenizer.convert_tokens_to_ids(mark) in tokenizer.all_special_ids
        why = "is a special token of the tokenizer" if special else "does not survive the tokenizer"
        yield (
            f"{mark} {why}, so it is gone from decoded completions and no reward can see it; add it as an ordinary token, "
            "AddedToken(..., special=False), or as plain text."
        )
    start, whole = _rendered(tokenizer, messages, completion)
    bare = tokenizer.apply_chat_template(messages, tokenize=False)
    opened = start[len(_common(start, bare)) :]
    if THINK in completion and THINK in opened and END_THINK not in opened:
        yield (
            f"the chat template itself writes {THINK} at the end of a prompt, so completions come without it and break the "
            "format; save a template without it with the tokenizer."
        )
    if trained:
        written = tokenizer.decode(
            tokenizer(whole[len(_common(start, whole)) :], add_special_tokens=False)["input_ids"]
        )
        for mark in _lost(completion, written):
            yield (
                f"the chat template takes {mark} out of an assistant's turn, so SFT would not teach it; give a template that "
                "leaves the content as it is: train.chat_template_path: FILE.jinja."
            )


def oddities(tokenizer: Any, messages: Messages, completion: str, *, trained: bool) -> Iterator[str]:
    """What may be meant, but is rarely."""
    back = _there_and_back(tokenizer, completion)
    if _squeezed(back) != _squeezed(completion):
        at = len(_common(_squeezed(back), _squeezed(completion)))
        yield (
            f"the tokenizer changes the text of answers: {_squeezed(completion)[at : at + 20]!r} comes back as "
            f"{_squeezed(back)[at : at + 20]!r} (without spaces)."
        )
    if not trained:
        return
    start, whole = _rendered(tokenizer, messages, completion)
    if not whole.startswith(start):
        yield (
            f"the chat template ends a prompt with {start[-40:]!r}, but writes something else where an answer follows, so "
            "SFT trains on prompts that differ from those at inference."
        )
    answer = tokenizer(whole[len(_common(start, whole)) :], add_special_tokens=False)["input_ids"]
    if tokenizer.eos_token_id not in answer:
        yield (
            f"the chat template does not end an answer with the end token {tokenizer.eos_token!r}, so SFT does not teach the "
            "model to stop."
        )


def _there_and_back(tokenizer: Any, text: str) -> str:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return str(tokenizer.decode(ids, skip_special_tokens=True))  # as GRPO decodes


def _rendered(tokenizer: Any, messages: Messages, completion: str) -> tuple[str, str]:
    """The prompt as it is sent, and prompt and answer as SFT trains on them."""
    answer = {"role": "assistant", "content": completion}
    return (
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True),
        tokenizer.apply_chat_template([*messages, answer], tokenize=False),
    )


def _lost(text: str, after: str) -> list[str]:
    before, now = _squeezed(text), _squeezed(after)
    return [mark for mark in _MARKS if now.count(_squeezed(mark)) < before.count(_squeezed(mark))]


def _squeezed(text: str) -> str:
    """Without spaces, which word-level tokenizers and templates set anew, and without case and letter forms."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _common(first: str, second: str) -> str:
    """The beginning that two texts share."""
    return "".join(
        one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    )
