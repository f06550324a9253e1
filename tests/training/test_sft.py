"""SFT through TRL's own trainer: the loss is on the completions alone, padded, without padding and packed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from rlkit import cli
from rlkit.batches import batches
from rlkit.config import load_config
from rlkit.errors import ConfigError
from rlkit.fitting import fitted
from rlkit.runs import Run
from rlkit.sources import in_order, load_sources, plan_rows
from rlkit.training import common
from rlkit.training.sft import sft_trainer
from tests.training.layouts import demonstrations, qwen2, tiny_model, write_config

MODES = {
    "padded": {"max_steps": 3},
    "padding_free": {"max_steps": 3, "padding_free": True},
    "packed": {"num_train_epochs": 1, "packing": True, "max_length": 400},
}


def trainer_of(folder: Path, tokenizer: Any, **train: Any) -> tuple[Any, list[str]]:
    """TRL's trainer for demonstrations on a tiny model, and the completions in planned order."""
    tiny_model(folder / "start", tokenizer)
    config = load_config(write_config(folder, demonstrations(24), train={"per_device_train_batch_size": 4, **train}))
    sources = load_sources(config)
    planned = in_order(config, sources, *plan_rows(config, sources, 1))
    name = str(folder / "start")
    trainer = sft_trainer(config, Run(config.output_dir), planned, name, common.load_tokenizer(name, config))
    return trainer, planned.rows["completion"]


def labelled(batch: Any) -> list[list[int]]:
    """The runs of labels that count, in order."""
    runs = []
    for labels in batch["labels"].tolist():
        for counts, run in itertools.groupby(labels, key=lambda label: label != -100):
            if counts:
                runs.append(list(run))
    return runs


@pytest.mark.parametrize("mode", MODES)
def test_only_completions_are_labelled(tmp_path: Path, layout: Any, mode: str) -> None:
    """Decoded, the labels are the completions and the end token, row for row in planned order, and nothing else."""
    trainer, completions = trainer_of(tmp_path, layout, **MODES[mode])
    found = []
    for batch in trainer.get_train_dataloader():
        counts = batch["labels"] != -100
        assert batch["input_ids"][counts].equal(batch["labels"][counts])
        found += labelled(batch)
    spelled = [layout(text, add_special_tokens=False)["input_ids"] for text in completions]
    tail = [*layout("\n", add_special_tokens=False)["input_ids"]] if layout.eos_token == "<|im_end|>" else []
    assert found == [[*ids, layout.eos_token_id, *tail] for ids in spelled]
    assert len(found) == (12 if "max_steps" in MODES[mode] else 24)


def test_a_row_is_learned_whole_where_the_config_says_so(tmp_path: Path) -> None:
    """For a base model: prompts count as completions do, but for the first token of each row, which nothing predicts."""
    trainer, _ = trainer_of(tmp_path, qwen2(), **MODES["packed"], completion_only_loss=False)
    batch = next(iter(trainer.get_train_dataloader()))
    left_out = batch["labels"] == -100
    assert left_out.sum() == (batch["position_ids"] == 0).sum() > 4
    assert batch["input_ids"][~left_out].equal(batch["labels"][~left_out])


def test_packing_changes_no_loss(tmp_path: Path) -> None:
    """Rows in one sequence do not see one another: loss and gradients are those of the padded batch."""
    import torch

    trainer, _ = trainer_of(tmp_path, qwen2(), **MODES["packed"])
    packed = next(iter(trainer.get_train_dataloader()))
    packed.pop("seq_idx")  # for kernels of recurrent layers
    rows = len(labelled(packed))
    assert packed["input_ids"].shape[0] == 1
    assert 4 < rows < 24
    trainer, _ = trainer_of(tmp_path, qwen2(), max_steps=6)
    padded = trainer.data_collator([trainer.train_dataset[row] for row in range(rows)])
    found = []
    for batch in (packed, padded):
        trainer.model.zero_grad()
        loss = trainer.model(**batch).loss
        loss.backward()
        found.append((loss.item(), torch.cat([weight.grad.flatten() for weight in trainer.model.parameters()])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)


def test_packed_sequences_are_planned_rows_one_after_the_other(tmp_path: Path) -> None:
    tokenizer = qwen2()
    trainer, _ = trainer_of(tmp_path, tokenizer, **MODES["packed"])
    sequences = trainer.train_dataset
    assert all(len(row["input_ids"]) == sum(row["seq_lengths"]) <= 400 for row in sequences)
    assert sum(len(row["seq_lengths"]) for row in sequences) == 24
    assert trainer.args.max_steps == -1
    steps = -(-len(sequences) // 4)
    assert trainer.train().global_step == steps


def test_packing_leaves_the_plan_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"per_device_train_batch_size": 4, "num_train_epochs": 2}
    config = load_config(write_config(tmp_path, demonstrations(24), train=sizes))
    packing = load_config(
        write_config(tmp_path, demonstrations(24), train={**sizes, "packing": True, "max_length": 400})
    )
    rows = load_sources(config)
    assert plan_rows(config, rows, 1)[0].fingerprint() == plan_rows(packing, rows, 1)[0].fingerprint()
    assert cli.main(["check", str(tmp_path / "sft.yaml")]) == 0
    shown = capsys.readouterr().out
    assert "48 rows in planned order, packed into sequences of up to 400 tokens, 4 sequences an optimizer step" in shown


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"packing": True, "max_length": 400, "max_steps": 5}, "a number of steps is no number of rows; give train.num_train_epochs"),
        ({"packing": True}, "train.max_length: none given, but train.packing fills sequences"),
        ({"packing": True, "max_length": 9, "packing_strategy": "wrapped"}, "would cut completions from their prompts"),
    ],
)  # fmt: skip
def test_packing_that_cannot_be_planned(tmp_path: Path, train: dict[str, Any], message: str) -> None:
    config = load_config(write_config(tmp_path, demonstrations(4), train=train))
    with pytest.raises(ConfigError) as caught:
        batches(config, 1, 4)
    assert message in str(caught.value)


def test_no_row_is_cut(tmp_path: Path) -> None:
    """TRL's own default would cut rows at 1,024 tokens, and with them their answers."""
    rows = demonstrations(4)
    for row in rows:
        row["context"] += [{"title": "", "text": "Nothing happened here. " * 300}]
    tokenizer = qwen2()
    tiny_model(tmp_path / "start", tokenizer)
    for limit, kept in ((None, 4), (1500, 0)):
        short = demonstrations(5)[4:] if limit else []
        changes = {"max_steps": 1, "per_device_train_batch_size": 4, **({"max_length": limit} if limit else {})}
        config = load_config(write_config(tmp_path, rows + short, train=changes))
        name = str(tmp_path / "start")
        tokenizer = common.load_tokenizer(name, config)
        sources = fitted(config, load_sources(config), tokenizer)
        assert sources.sizes() == {"rows": kept + len(short)}
        planned = in_order(config, sources, *plan_rows(config, sources, 1))
        trainer = sft_trainer(config, Run(config.output_dir), planned, name, tokenizer)
        texts = [tokenizer.decode(row["input_ids"]) for row in trainer.train_dataset]
        assert all(
            text.endswith(f"{row}<|im_end|>\n") for text, row in zip(texts, planned.rows["completion"], strict=True)
        )
        if limit:
            (dropped,) = sources.loaded["rows"].report.dropped
            assert dropped == "prompt and completion are over train.max_length = 1500"
        else:
            assert min(len(row["input_ids"]) for row in trainer.train_dataset) > 1500
