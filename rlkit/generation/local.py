"""A transformers model on this machine: batches sorted by length, or continuous batching on a GPU.

Knows weights, tokens and memory; refuses to know what is asked. The weights are loaded at the first question and kept
for the next, one model a process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rlkit.errors import ConfigError
from rlkit.generation import weights
from rlkit.generation.folder import fingerprint, locate_model
from rlkit.generation.model import Conversation, Reply
from rlkit.generation.weights import GenerationError

MAX_NEW_TOKENS = 512  # where nobody says
WINDOW_BATCHES = 16  # this many batches are drawn at a time and sorted by length
_loaded: dict[tuple[Any, ...], Any] = {}  # the one model of this process


@dataclass(frozen=True)
class Local:
    """A model and how it answers; plain values only, so it is picklable and its repr is its config.

    `model_name_or_path` is a run's folder, a model's or adapter's folder, or a hub name. `sampling` holds fields of
    transformers' `GenerationConfig` under their own names, and `seed`; nothing else is taken from the model's own
    generation config but where an answer ends. Without `do_sample` or a temperature above 0 answers are greedy.
    `device` is where the weights go (default: this process's GPU, else the CPU; "auto" spreads them over all GPUs);
    `dtype`, `revision`, `attn_implementation` and `trust_remote_code` are `from_pretrained`'s. `continuous_batching`
    is on by default where the weights are on a GPU.

    >>> Local("runs/care", sampling={"max_new_tokens": 64, "temperature": 0}).settings
    {'max_new_tokens': 64, 'do_sample': False}
    """

    model_name_or_path: str
    sampling: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 16
    dtype: str = "auto"
    device: str | None = None
    revision: str | None = None
    attn_implementation: str | None = None
    trust_remote_code: bool = False
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    continuous_batching: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model_name_or_path, str) or not self.model_name_or_path:
            raise ConfigError(
                f"model_name_or_path: is {self.model_name_or_path!r}, but must be a folder or the name of a hub model."
            )
        limit = self.sampling.get("max_new_tokens", MAX_NEW_TOKENS)
        for name, value in (("batch_size", self.batch_size), ("sampling.max_new_tokens", limit)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name}: is {value!r}, but must be a whole number of at least 1.")
        weights.check_sampling(self.sampling)

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # what was loaded does not travel

    @property
    def settings(self) -> dict[str, Any]:
        """The sampling settings in full, without `seed`."""
        given = {name: value for name, value in self.sampling.items() if name != "seed"}
        sampled = bool(given.get("do_sample", (given.get("temperature") or 0) > 0))
        if not sampled:  # transformers refuses settings that only sampling uses
            given = {name: value for name, value in given.items() if name not in ("temperature", "top_p", "top_k")}
        return {"max_new_tokens": MAX_NEW_TOKENS, **given, "do_sample": sampled}

    @cached_property
    def place(self) -> str:
        """What `from_pretrained` reads."""
        return locate_model(self.model_name_or_path, "model_name_or_path")[0]

    @property
    def identity(self) -> str:
        """The model's content (of a hub model its name and revision), number type and sampling settings."""
        settings = [self.dtype, self.settings, self.sampling.get("seed"), dict(self.chat_template_kwargs)]
        return json.dumps([self._content(), *settings], sort_keys=True, default=str)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer; loads no weights."""
        return weights.load_tokenizer(self.place, self.revision, self.trust_remote_code)

    @cached_property
    def window_tokens(self) -> int | None:
        """How many tokens the model reads and writes together, where its config says so."""
        return weights.window_tokens(self.place, self.revision, self.trust_remote_code)

    def prompt_ids(self, conversation: Conversation) -> list[int]:
        """The prompt's tokens; raises `GenerationError` where they and the answer may run over the model's window."""
        ids = weights.prompt_ids(self.tokenizer, conversation, self.model_name_or_path, self.chat_template_kwargs)
        weights.check_room(len(ids), self.settings["max_new_tokens"], self.window_tokens, self.model_name_or_path)
        return ids

    def complete(
        self,
        conversations: Iterable[Conversation],
        on_reply: Callable[[int, Reply], None] = lambda number, reply: None,
    ) -> Iterator[Reply]:
        """Replies in the order of the conversations; see `Model.complete`.

        Drawn some batches at a time and answered longest first, so that want of memory shows early.
        """
        weights.generation_config(self.settings)  # a wrong name must cost neither tokens nor weights
        tokenised = self._tokenised(conversations)
        first = next(tokenised, None)
        if first is None:  # nothing to answer is no reason to load a model
            return
        model, prompts = self._model(), chain([first], tokenised)
        size = self.batch_size * WINDOW_BATCHES
        if model.device.type == "cuda" if self.continuous_batching is None else self.continuous_batching:
            from rlkit.generation.continuous import answer_each

            answers = answer_each(model, prompts, size, self.sampling.get("seed"), self.window_tokens)
        else:
            answers = self._in_batches(model, prompts, size)
        waiting: dict[int, Reply] = {}
        due = 0
        for number, prompt_tokens, tokens in answers:
            waiting[number] = self._reply(prompt_tokens, tokens, model.generation_config.eos_token_id)
            on_reply(number, waiting[number])
            while due in waiting:
                yield waiting.pop(due)
                due += 1

    def _tokenised(self, conversations: Iterable[Conversation]) -> Iterator[tuple[int, list[int]]]:
        for number, conversation in enumerate(conversations):
            try:
                yield number, self.prompt_ids(conversation)
            except GenerationError as error:
                error.number = number
                raise

    def _in_batches(
        self, model: Any, prompts: Iterator[tuple[int, list[int]]], size: int
    ) -> Iterator[tuple[int, int, list[int]]]:
        while window := sorted(islice(prompts, size), key=lambda prompt: (-len(prompt[1]), prompt[0])):
            for start in range(0, len(window), self.batch_size):
                batch = window[start : start + self.batch_size]
                for (number, ids), answer in zip(batch, self._answers(model, batch), strict=True):
                    yield number, len(ids), answer

    def _answers(self, model: Any, batch: Sequence[tuple[int, list[int]]]) -> list[list[int]]:
        """The new tokens of each prompt of a batch, padding behind the end and all."""
        import torch

        width = max(len(ids) for _, ids in batch)
        pad = model.generation_config.pad_token_id
        tokens = torch.tensor([[pad] * (width - len(ids)) + ids for _, ids in batch], device=model.device)
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for _, ids in batch], device=model.device)
        try:
            with torch.inference_mode(), torch.random.fork_rng():
                if self.sampling.get("seed") is not None:
                    torch.manual_seed(_seed(self.sampling["seed"], batch[0][0]))
                output = model.generate(input_ids=tokens, attention_mask=mask)
        except torch.OutOfMemoryError as error:
            raise GenerationError(
                f"{self.model_name_or_path}: no memory for {len(batch)} prompts of up to {width:,} tokens at once; lower "
                "batch_size or max_new_tokens."
            ) from error
        except ValueError as error:  # transformers checks some settings at their first use
            raise ConfigError(f"sampling: {self.settings!r}: {error!s:.300}") from error
        return output[:, width:].tolist()

    def _reply(self, prompt_tokens: int, tokens: Sequence[int], ends: Sequence[int]) -> Reply:
        length = next((place for place, token in enumerate(tokens, 1) if token in ends), None)
        told = tokens[:length]
        kept = [token for token in told if token not in self._chat_tokens and token not in ends]
        text = self.tokenizer.decode(kept, skip_special_tokens=False)
        return Reply(text, "length" if length is None else "stop", prompt_tokens, len(told))

    @cached_property
    def _chat_tokens(self) -> frozenset[int]:
        return weights.chat_token_ids(self.tokenizer)

    def _content(self) -> Any:
        folder = Path(self.place)
        return fingerprint(folder) if folder.is_dir() else [self.place, self.revision]

    def _model(self) -> Any:
        """The model, ready to generate with these settings; one that was loaded before makes room."""
        config = weights.generation_config(self.settings)
        options = {
            name: getattr(self, name)
            for name in ("dtype", "device", "revision", "attn_implementation", "trust_remote_code")
        }
        key = (json.dumps(self._content()), *options.values())
        if key not in _loaded:
            _loaded.clear()
            model = weights.load_weights(self.place, **options)
            _loaded[key] = model, weights.end_ids(model, self.tokenizer)
        model, config.eos_token_id = _loaded[key]
        pad = self.tokenizer.pad_token_id
        config.pad_token_id = config.eos_token_id[0] if pad is None and config.eos_token_id else pad
        model.generation_config = config  # `generate` fills what is not set from the model's own
        return model


def _seed(seed: int, number: int) -> int:
    """A seed for the batch that begins with this conversation."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=7).digest(), "big")
