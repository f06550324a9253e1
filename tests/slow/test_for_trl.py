"""`for_trl` inside a real GRPOTrainer: TRL logs every part under its name, and its reward is the offline total."""

from __future__ import annotations

import pickle

import pytest

from rewards import for_trl, reward, token_f1, weighted

pytestmark = pytest.mark.slow

QUESTIONS = ["Which river flows through Porto?", "Who wrote Emma?", "When was Emma published?", "Where is Lisbon?"]


@reward(applies=lambda sample: bool(sample.evidence))
def length(sample):
    return min(1.0, len(sample.completion) / 200)


def says_the(prompts, completions, trainer_state, **columns):
    assert trainer_state.global_step < 3
    return [float("the" in completion[0]["content"]) for completion in completions]


def never(sample):
    return None


def crashes(sample):
    raise KeyError("always")


def test_trl_logs_every_part_and_earns_the_offline_total(tmp_path):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from rlkit.scratch import scratch_model

    shape = {"model_type": "qwen2", "vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
             "num_attention_heads": 2, "num_key_value_heads": 2}  # fmt: skip
    model = scratch_model(tmp_path / "model", shape, QUESTIONS * 20, seed=1)
    rows = Dataset.from_list(
        [
            {
                "id": f"q{i}",
                "prompt": [{"role": "user", "content": question}],
                "answer": "Douro",
                "context": [{"title": "T", "text": "The Douro."}],
                "evidence": ["The Douro."] if i % 2 else None,
            }
            for i, question in enumerate(QUESTIONS * 3)
        ]
    )
    composed = weighted(
        accuracy=(0.5, token_f1()),
        length=(0.3, length),
        the=(0.2, says_the),
        never=(1.0, never),
        bad=(1.0, crashes),
        on_error="abstain",
    )
    batches = []
    functions, weights = for_trl(
        composed,
        columns={"golds": "answer"},
        observe=lambda samples, scores, context: batches.append((samples, scores, context)),
    )
    args = GRPOConfig(
        output_dir=str(tmp_path / "run"), max_steps=3, per_device_train_batch_size=8, num_generations=4, logging_steps=1,
        max_completion_length=12, reward_weights=weights, use_cpu=True, bf16=False, report_to=[], save_strategy="no",
        remove_unused_columns=False, gradient_checkpointing=False,
    )  # fmt: skip
    trainer = GRPOTrainer(model=str(model), reward_funcs=functions, args=args, train_dataset=rows)
    trainer.train()

    logs = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(logs) == len(batches) == 3
    for entry, (samples, scores, context) in zip(logs, batches, strict=True):
        assert len(samples) == 8
        assert {"trainer_state", "log_metric", "completion_ids"} <= set(context)
        assert entry["reward"] == pytest.approx(sum(score.total for score in scores) / 8, abs=1e-6)
        for name in ("accuracy", "length", "the"):
            values = [score.parts[name] for score in scores if score.parts[name] is not None]
            if values:
                assert entry[f"rewards/{name}/mean"] == pytest.approx(sum(values) / len(values), abs=1e-6)
            assert entry[f"rewards/{name}/none_rate"] == pytest.approx(1 - len(values) / 8)
            assert entry[f"rewards/{name}/error_rate"] == 0.0
        assert (entry["rewards/never/none_rate"], entry["rewards/bad/none_rate"], entry["rewards/bad/error_rate"]) == (
            1,
            1,
            1,
        )
        again = composed.batch(samples, trainer_state=context["trainer_state"])
        assert [score.total for score in again] == [score.total for score in scores]
    assert pickle.loads(pickle.dumps(for_trl(composed)[0]))[0].__name__ == "accuracy"
