"""How many tokens a prompt and a completion can have: as the config limits them, else as the data has them.

Knows limits and counts; knows no memory. Data is read only where neither the config nor the caller says a length.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlkit.config import Config
from rlkit.data.record import Record
from rlkit.errors import ConfigError, RlkitError
from rlkit.memory.prompt import MEMORY_SYSTEM
from rlkit.prompts import prompt_of

TOKENS_PER_WORD = 2  # the upper end of what tokenizers make of English words and numbers


@dataclass(frozen=True)
class Lengths:
    """The most tokens of a prompt and of a completion, and where each number is from.

    Where a config limits both together, `prompt` stands for both.
    """

    prompt: int
    completion: int
    told: str

    @property
    def total(self) -> int:
        return self.prompt + self.completion


def lengths_of(config: Config, prompt: int | None = None, completion: int | None = None) -> Lengths:
    """The longest prompt and completion of a config; `prompt` and `completion` stand above what it says.

    Raises `ConfigError` where a length is stated nowhere and the data is not on this machine.
    """
    for name, value in (("--prompt-tokens", prompt), ("--completion-tokens", completion)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}: is {value}, but must be a whole number of at least 1.")
    told = []
    if prompt is not None:
        told.append("prompt as given")
    if completion is not None:
        told.append("completion as given")
    if config.method == "grpo" and completion is None:
        completion = config.setting("max_completion_length")
        told.append("completion: train.max_completion_length")
    if config.method == "sft" and config.setting("max_length") is not None and (prompt is None or completion is None):
        whole = config.setting("max_length")
        return Lengths(whole, 0, "train.max_length")
    if prompt is None:
        prompt, said = _limit(config)
        told += [said] if said else []
    if prompt is None or completion is None:
        found = _longest(config)
        told.append(f"longest row of the data, at {TOKENS_PER_WORD} tokens a word")
        prompt, completion = prompt or found[0], completion or found[1]
    return Lengths(prompt, completion, "; ".join(told))


def _limit(config: Config) -> tuple[int | None, str]:
    if config.prompt.max_tokens is not None:
        return config.prompt.max_tokens, "prompt: prompt.max_tokens"
    budget = (config.memory or {}).get("budget_tokens")
    if budget is None:
        return None, ""
    system = MEMORY_SYSTEM if config.prompt.system == "default" else config.prompt.system or ""
    return budget + TOKENS_PER_WORD * len(system.split()), "prompt: memory.budget_tokens and the instructions"


def _longest(config: Config) -> tuple[int, int]:
    """Tokens of the longest prompt and demonstration, from their words."""
    from rlkit.sources import load_sources

    try:
        sources = load_sources(config)
    except RlkitError as error:
        raise ConfigError(
            f"how long a prompt can be stands neither in the config (prompt.max_tokens) nor in data on this machine ({error}), so "
            "no activation can be counted; give --prompt-tokens and, for SFT, --completion-tokens."
        ) from error
    prompt = completion = 1
    for _, record in sources.records():
        prompt = max(prompt, _words(record, config.prompt.system))
        completion = max(completion, len(str(record.get("completion") or "").split()))
    return TOKENS_PER_WORD * prompt, TOKENS_PER_WORD * completion


def _words(record: Record, system: str | None) -> int:
    return sum(len(message["content"].split()) for message in prompt_of(record, system))
