"""From a section to a model: which keys name which kind, and every wrong key with its path. vLLM is a fake of ten lines."""

from __future__ import annotations

import pickle
import sys
import types
from typing import Any

import pytest

from rlkit.errors import ConfigError
from rlkit.generation.endpoint import Endpoint
from rlkit.generation.local import Local
from rlkit.generation.open import open_model, with_defaults
from rlkit.generation.vllm import VLLM
from rlkit.generation.weights import GenerationError

URL = "http://127.0.0.1:1/v1"


def test_each_kind_of_model() -> None:
    assert open_model({"base_url": URL, "model": "m", "concurrency": 2}) == Endpoint(URL, "m", concurrency=2)
    assert open_model({"model_name_or_path": "a/b", "batch_size": 2}) == Local("a/b", batch_size=2)
    section = {"model_name_or_path": "a/b", "use_vllm": True, "engine": {"tensor_parallel_size": 2}}
    assert open_model(section) == VLLM("a/b", engine={"tensor_parallel_size": 2})
    assert open_model({"model_name_or_path": "a/b", "use_vllm": False}) == Local("a/b")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("a/b", "models.x: is 'a/b', but must be a mapping"),
        ({}, "models.x: has neither of base_url .* and model_name_or_path"),
        ({"base_url": URL, "model_name_or_path": "a"}, "models.x: has both"),
        ({"model_name_or_pth": "a"}, "Did you mean 'model_name_or_path'"),
        ({"base_url": URL}, "models.x.model: is missing"),
        ({"base_url": "nowhere", "model": "m"}, "models.x: base_url"),
        (
            {"model_name_or_path": "a", "batchsize": 1},
            "models.x.batchsize: Local has no such field. Did you mean 'batch_size'",
        ),
        ({"model_name_or_path": "a", "batch_size": "8"}, "models.x: batch_size: is '8'"),
        ({"model_name_or_path": "a", "sampling": [1]}, "models.x.sampling: is .1., but must be a mapping"),
        ({"model_name_or_path": "a", "use_vllm": "yes"}, "models.x.use_vllm: is 'yes'"),
        ({"model_name_or_path": "a", "engine": {}}, "models.x.engine: Local has no such field"),
        ({"model_name_or_path": "a", "use_vllm": True, "sampling": {"n": 2}}, "models.x: n: is set by rlkit"),
    ],
)
def test_wrong_sections_are_named_with_their_path(section: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_model(section, "models.x")


def test_lengths_and_greed_are_filled_in_under_each_ones_own_name() -> None:
    assert with_defaults(Local("a"), 7).sampling == {"max_new_tokens": 7}
    assert with_defaults(Local("a", sampling={"max_new_tokens": 3}), 7).sampling == {"max_new_tokens": 3}
    assert with_defaults(VLLM("a"), 7).settings == {"max_tokens": 7, "temperature": 0.0}
    assert with_defaults(Endpoint(URL, "m"), 7).sampling == {"max_tokens": 7, "temperature": 0}
    asked = with_defaults(Endpoint(URL, "m", sampling={"max_completion_tokens": 3, "temperature": 1}), 7)
    assert asked.sampling == {"max_completion_tokens": 3, "temperature": 1}


class FakeLLM:
    made: list[dict[str, Any]] = []  # noqa: RUF012

    def __init__(self, **options: Any) -> None:
        self.made.append(options)

    def chat(self, conversations: list[Any], params: Any, use_tqdm: bool, **options: Any) -> list[Any]:
        if any(not conversation[-1]["content"] for conversation in conversations):
            raise ValueError("prompt is too long")
        said = [
            types.SimpleNamespace(text=f"{c[-1]['content']}!", finish_reason="stop", token_ids=[1, 2])
            for c in conversations
        ]
        return [types.SimpleNamespace(prompt_token_ids=[1, 2, 3], outputs=[one]) for one in said]


@pytest.fixture
def fake_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    def params(skip_special_tokens: bool, max_tokens: int, temperature: float, **unknown: Any) -> tuple[int, float]:
        if unknown:
            raise TypeError(f"unexpected {unknown}")
        return max_tokens, temperature

    monkeypatch.setitem(sys.modules, "vllm", types.SimpleNamespace(LLM=FakeLLM, SamplingParams=params))  # type: ignore[arg-type]
    monkeypatch.setattr("rlkit.generation.vllm._engines", {})
    FakeLLM.made.clear()


@pytest.mark.usefixtures("fake_vllm")
def test_vllm_answers_in_order_from_one_engine() -> None:
    model = pickle.loads(pickle.dumps(VLLM("a/b", batch_size=2, engine={"tensor_parallel_size": 2}, revision="r1")))
    told: dict[int, Any] = {}
    texts = [str(number) for number in range(5)]
    replies = list(model.complete(([{"role": "user", "content": text}] for text in texts), told.__setitem__))
    assert [reply.text for reply in replies] == [f"{text}!" for text in texts]
    assert (replies[0].finish_reason, replies[0].prompt_tokens, replies[0].completion_tokens) == ("stop", 3, 2)
    assert told == dict(enumerate(replies))
    assert FakeLLM.made == [{"model": "a/b", "revision": "r1", "trust_remote_code": False, "tensor_parallel_size": 2}]
    assert VLLM("a/b", sampling={"temperature": 1}).identity != VLLM("a/b").identity


@pytest.mark.usefixtures("fake_vllm")
def test_what_vllm_refuses_is_said() -> None:
    with pytest.raises(ConfigError, match=r"sampling: vLLM's SamplingParams refuses.*temprature"):
        list(VLLM("a/b", sampling={"temprature": 1}).complete([[{"role": "user", "content": "x"}]]))
    with pytest.raises(GenerationError, match="a/b: vLLM refuses a prompt: prompt is too long"):
        list(VLLM("a/b").complete([[{"role": "user", "content": ""}]]))


def test_without_vllm_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError, match="pip install vllm"):
        list(VLLM("a/b").complete([[{"role": "user", "content": "x"}]]))
