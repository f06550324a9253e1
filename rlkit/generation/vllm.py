"""A model in this process through vLLM's `LLM.chat`.

Knows vLLM's public calls, nothing below them, and not what is asked. vLLM schedules by itself: it is handed many
conversations at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from rlkit.errors import ConfigError
from rlkit.generation.folder import fingerprint, locate_model
from rlkit.generation.model import Conversation, Reply
from rlkit.generation.weights import GenerationError, load_tokenizer

MAX_TOKENS = 512  # where nobody says
_engines: dict[str, Any] = {}  # the one engine of this process: it takes most of the GPU's memory


@dataclass(frozen=True)
class VLLM:
    """A model and how it answers; plain values only, so it is picklable and its repr is its config.

    `sampling` passes to `vllm.SamplingParams` and `engine` to `vllm.LLM` under their own names (`max_tokens`,
    `temperature`; `tensor_parallel_size`, `gpu_memory_utilization`, `dtype`). Without a temperature answers are greedy.
    `batch_size` conversations are handed over at a time.

    >>> VLLM("Qwen/Qwen2.5-7B-Instruct", engine={"tensor_parallel_size": 2}).settings
    {'max_tokens': 512, 'temperature': 0.0}
    """

    model_name_or_path: str
    sampling: Mapping[str, Any] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 512
    revision: str | None = None
    trust_remote_code: bool = False
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ConfigError(f"batch_size: is {self.batch_size!r}, but must be a whole number of at least 1.")
        for section, name in ((self.sampling, "n"), (self.engine, "model"), (self.engine, "revision")):
            if name in section:
                raise ConfigError(f"{name}: is set by rlkit; remove it.")

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # what was loaded does not travel

    @property
    def settings(self) -> dict[str, Any]:
        """The sampling settings in full."""
        return {"max_tokens": MAX_TOKENS, "temperature": 0.0, **self.sampling}

    @cached_property
    def place(self) -> str:
        """The folder or the hub name that vLLM loads."""
        return locate_model(self.model_name_or_path, "model_name_or_path")[0]

    @property
    def identity(self) -> str:
        """The model's content (of a hub model its name and revision), number type and sampling settings."""
        folder = Path(self.place)
        content = fingerprint(folder) if folder.is_dir() else [self.place, self.revision]
        told = [content, self.engine.get("dtype"), self.settings, dict(self.chat_template_kwargs)]
        return json.dumps(["vllm", *told], sort_keys=True, default=str)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, for those who count or cut; loads no weights."""
        return load_tokenizer(self.place, self.revision, self.trust_remote_code)

    @property
    def window_tokens(self) -> int | None:
        """How many tokens the model reads and writes together, where `engine` says so."""
        return self.engine.get("max_model_len")

    def complete(
        self,
        conversations: Iterable[Conversation],
        on_reply: Callable[[int, Reply], None] = lambda number, reply: None,
    ) -> Iterator[Reply]:
        """Replies in the order of the conversations; see `Model.complete`."""
        numbered = enumerate(conversations)
        while window := list(islice(numbered, self.batch_size)):
            outputs = self._chat([list(conversation) for _, conversation in window])
            replies = [_reply(output) for output in outputs]
            for (number, _), reply in zip(window, replies, strict=True):
                on_reply(number, reply)
            yield from replies

    def _chat(self, conversations: list[Any]) -> list[Any]:
        try:
            import vllm
        except ImportError as error:
            raise ConfigError(
                "use_vllm: vllm is not installed; pip install vllm, or leave use_vllm out to generate by transformers."
            ) from error
        try:
            # Markup of the chat goes where the answer is read; special tokens stay, because tags may be some.
            params = vllm.SamplingParams(skip_special_tokens=False, **self.settings)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"sampling: vLLM's SamplingParams refuses {self.settings!r}: {error}") from error
        options = {"chat_template_kwargs": dict(self.chat_template_kwargs)} if self.chat_template_kwargs else {}
        try:
            return self._engine(vllm).chat(conversations, params, use_tqdm=False, **options)
        except ValueError as error:
            raise GenerationError(f"{self.model_name_or_path}: vLLM refuses a prompt: {error!s:.300}") from error

    def _engine(self, vllm: Any) -> Any:
        key = json.dumps([self.place, self.identity, self.revision, dict(self.engine)], sort_keys=True, default=str)
        if key not in _engines:
            _engines.clear()
            options = {"trust_remote_code": self.trust_remote_code, **self.engine}
            try:
                _engines[key] = vllm.LLM(model=self.place, revision=self.revision, **options)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"engine: vLLM refuses {options!r}: {error!s:.300}") from error
        return _engines[key]


def _reply(output: Any) -> Reply:
    answer = output.outputs[0]
    return Reply(answer.text, answer.finish_reason or "", len(output.prompt_token_ids or ()), len(answer.token_ids))
