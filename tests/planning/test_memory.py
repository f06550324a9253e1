"""The formulas give what a model's forward pass keeps, what its cache holds, and what a change of the config changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rlkit.config import parse_config
from rlkit.planning.lengths import Lengths
from rlkit.planning.memory import Estimate, cache_bytes_per_token, engine_problem, estimate
from rlkit.planning.setup import Setup, read_setup
from rlkit.planning.shapes import shape_of
from rlkit.planning.term import GIB
from rlkit.planning.zero import CHOICES, Zero

SIZES = {
    "vocab_size": 300,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
}
PROMPT, COMPLETION = 96, 32


def setup_of(*, gpus: int = 1, method: str = "grpo", model: dict[str, Any] | None = None, **train: Any) -> Setup:
    values: dict[str, Any] = {
        "method": method,
        "scratch": {"model_type": "qwen2", **SIZES},
        "sources": {"only": {"format": "records", "path": "rows.jsonl"}},
        "model": model or {},
        "train": {"max_steps": 4, "per_device_train_batch_size": 4, "gradient_checkpointing": False, **train},
    }
    config = parse_config(values)
    return read_setup(config, shape_of(config), Lengths(PROMPT, COMPLETION, "test"), gpus)


def term(counted: Estimate, name: str) -> int:
    return sum(each.bytes for each in counted.terms if each.name == name)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.03), ("bfloat16", 0.05)])
@pytest.mark.parametrize("padded", [True, False])
def test_activations_are_what_the_forward_pass_keeps(dtype: str, tolerance: float, padded: bool) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **SIZES), dtype=getattr(torch, dtype))
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)  # so that no storage is given to two tensors
        return tensor

    mask = torch.ones((4, PROMPT + COMPLETION), dtype=torch.long)
    mask[0, : 9 if padded else 0] = 0
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.model(input_ids=torch.zeros_like(mask), attention_mask=mask)
    setup = setup_of(model={"dtype": dtype}, bf16=dtype == "bfloat16")
    if not padded:  # without padding PyTorch needs no mask and repeats no keys, as with flash attention
        setup = replace(setup, attention="flash")
    counted = estimate(setup, GIB)
    predicted = term(counted, "activations") + term(counted, "last norm and hidden states")
    assert predicted == pytest.approx(sum(kept.values()), rel=tolerance)


def test_the_cache_holds_what_transformers_caches() -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **SIZES), dtype=torch.float32)
    with torch.no_grad():
        cache = model(input_ids=torch.zeros((2, 40), dtype=torch.long), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    setup = setup_of(model={"dtype": "float32"}, bf16=False)
    assert held == 2 * 40 * cache_bytes_per_token(setup)


def test_checkpointing_keeps_a_layers_input_instead_of_all_that_is_in_it() -> None:
    plain = estimate(setup_of(), GIB)
    saved = estimate(setup_of(gradient_checkpointing=True), GIB)
    assert term(saved, "checkpoints") == 4 * 128 * 4 * 128 * 2  # tokens x layers x hidden x bytes
    assert term(saved, "activations of a layer") * 4 == term(plain, "activations")
    assert saved.gpu < plain.gpu


def test_the_reference_model_is_there_with_beta_and_without_an_adapter() -> None:
    name = "reference model (beta > 0)"
    parameters = setup_of().shape.parameters
    assert term(estimate(setup_of(beta=0.1, bf16=False), GIB), name) == 4 * parameters
    assert term(estimate(setup_of(), GIB), name) == 0
    assert term(estimate(setup_of(beta=0.1, model={"use_peft": True}), GIB), name) == 0
    zero3 = setup_of(
        beta=0.1, bf16=True, gpus=4, deepspeed={"bf16": {"enabled": "auto"}, "zero_optimization": {"stage": 3}}
    )
    assert term(estimate(zero3, GIB), name) == 2 * parameters // 4
    assert term(estimate(zero3, GIB, Zero(3, optimizer=True, parameters=True)), name) == 0


def test_only_an_adapter_has_gradients_and_optimizer_states() -> None:
    whole, adapter = setup_of(bf16=False), setup_of(bf16=False, model={"use_peft": True, "lora_r": 4})
    assert adapter.trainable == 4 * 4 * ((128 + 128) + (128 + 32))  # layers x rank x (inputs + outputs) of q and v
    states = {name: term(estimate(adapter, GIB), name) for name in ("weights", "gradients", "Adam's two moments")}
    assert states == {
        "weights": 4 * adapter.trainable,
        "gradients": 4 * adapter.trainable,
        "Adam's two moments": 8 * adapter.trainable,
    }
    assert term(estimate(adapter, GIB), "frozen weights") == 4 * whole.shape.parameters
    assert term(estimate(adapter, GIB), "output layer: gradient") == 0
    assert term(estimate(whole, GIB), "output layer: gradient") > 0
    four = setup_of(bf16=True, model={"use_peft": True, "load_in_4bit": True, "dtype": "bfloat16"})
    assert four.frozen_bytes < adapter.frozen_bytes / 3


@pytest.mark.parametrize(
    ("deepspeed", "train", "model", "expected"),
    [
        (None, {"bf16": False}, {}, (4, 4)),
        (None, {}, {}, (2, 4)),  # TRL: bf16 unless said otherwise, weights of 32 bits unless said otherwise
        (None, {"use_cpu": True}, {}, (4, 4)),
        (None, {"bf16": True}, {"dtype": "bfloat16"}, (2, 2)),
        (None, {"fp16": True}, {}, (2, 4)),
        ({"bf16": {"enabled": "auto"}, "zero_optimization": {"stage": 2}}, {"bf16": True}, {}, (2, 2)),
        (
            {"bf16": {"enabled": "auto"}, "zero_optimization": {"stage": 2}},
            {"bf16": False},
            {"dtype": "bfloat16"},
            (4, 4),
        ),
        ({"bf16": {"enabled": True}, "zero_optimization": {"stage": 2}}, {"bf16": False}, {}, (2, 2)),
        ({"zero_optimization": {"stage": 2}}, {"bf16": True}, {}, (4, 4)),
    ],
)
def test_bytes_of_a_weight(
    deepspeed: Any, train: dict[str, Any], model: dict[str, Any], expected: tuple[int, int]
) -> None:
    setup = setup_of(model=model, **train, **({} if deepspeed is None else {"deepspeed": deepspeed}))
    assert (setup.weight_bytes, setup.state_bytes) == expected


def test_generation_holds_a_whole_round() -> None:
    counted = estimate(setup_of(gradient_accumulation_steps=3, bf16=False), GIB)
    assert term(counted, "keys and values") == 3 * 4 * 128 * (2 * 4 * 32 * 4)
    assert setup_of(steps_per_generation=6).round_sequences == 24
    assert setup_of(generation_batch_size=16, gpus=2).round_sequences == 8
    assert estimate(setup_of(method="sft"), GIB).at("generation") == 0


def test_stage_3_gathers_all_weights_to_generate() -> None:
    file = {"bf16": {"enabled": "auto"}, "zero_optimization": {"stage": 3}}
    setup = setup_of(bf16=True, gpus=4, deepspeed=file)
    assert term(estimate(setup, GIB), "gathered weights") == 2 * setup.shape.parameters
    spread = setup_of(bf16=True, gpus=4, deepspeed=file, ds3_gather_for_generation=False)
    assert term(estimate(spread, GIB), "gathered weights") == 0


def test_vllm_takes_its_share_and_must_fit_into_it() -> None:
    share = "vLLM: weights and cache"
    inside = setup_of(use_vllm=True, vllm_mode="colocate", vllm_gpu_memory_utilization=0.25)
    assert term(estimate(inside, 8 * GIB), share) == 2 * GIB
    assert term(estimate(inside, 8 * GIB), "keys and values") == 0
    assert engine_problem(inside, 8 * GIB) is None
    problem = engine_problem(inside, 2**22)
    assert problem is not None
    assert "so it cannot start" in problem
    asleep = setup_of(
        use_vllm=True, vllm_mode="colocate", vllm_gpu_memory_utilization=0.25, vllm_enable_sleep_mode=True
    )
    assert estimate(asleep, 8 * GIB).at("generation") == 2 * GIB
    assert estimate(asleep, 8 * GIB).at("resident") < estimate(inside, 8 * GIB).at("resident")
    beside = setup_of(use_vllm=True, vllm_mode="server")
    assert estimate(beside, 8 * GIB).at("generation") == 0
    assert engine_problem(beside, 1) is None


def test_logits_are_tiles_of_the_completions_tokens() -> None:
    counted = estimate(setup_of(bf16=True), GIB)
    assert term(counted, "logits, one tile") == 4 * COMPLETION * 32_768 * 2
    whole = estimate(setup_of(method="sft", loss_type="dft", bf16=True), GIB)
    assert term(whole, "logits, whole") == 4 * (PROMPT + COMPLETION) * 300 * 12


def test_attention_scores_are_whole_only_with_eager_attention() -> None:
    sizes = {
        name: estimate(setup_of(model={"attn_implementation": name}), GIB).gpu
        for name in ("eager", "sdpa", "flash_attention_2")
    }
    assert sizes["eager"] > sizes["sdpa"] > sizes["flash_attention_2"]
    assert estimate(setup_of(use_liger_kernel=True), GIB).gpu < estimate(setup_of(), GIB).gpu


def test_moments_that_do_not_meet_are_not_added() -> None:
    counted = estimate(setup_of(), GIB)
    moments = [counted.together(moment) for moment in ("loss", "backward", "step", "generation")]
    assert counted.gpu == max(moments) < sum(each.bytes for each in counted.terms)
    assert counted.together("step") == counted.at("resident") + counted.at("step")
    assert counted.together("loss") == counted.at("resident") + counted.at("kept") + counted.at("loss")


def test_offload_takes_from_the_gpu_and_gives_to_the_host() -> None:
    setup = setup_of(bf16=True, gpus=2, deepspeed={"bf16": {"enabled": "auto"}, "zero_optimization": {"stage": 3}})
    held = [estimate(setup, GIB, choice) for choice in CHOICES if choice.stage == 3]
    assert [each.gpu for each in held] == sorted((each.gpu for each in held), reverse=True)
    assert [each.host for each in held] == sorted(each.host for each in held)
