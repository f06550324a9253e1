"""Tags that a tokenizer or a chat template would swallow are found before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlkit import cli
from rlkit.check import check
from rlkit.config import load_config
from rlkit.errors import ConfigError
from rlkit.sources import load_sources
from rlkit.training.common import load_tokenizer
from rlkit.training.tags import TAGS, add_tags
from rlkit.training.wording import check_wording
from tests.training.layouts import QWEN2, WITHOUT_THOUGHTS, demonstrations, qwen2, tiny_model, write_config

# The end of Qwen3's template in short: a last turn's reasoning is kept, but set anew.
QWEN3 = QWEN2.replace(
    "message['content'] +",
    "('<think>\n' + message['content'].split('</think>')[0].split('<think>')[-1].strip('\n') + '\n</think>\n\n' + "
    "message['content'].split('</think>')[-1].lstrip('\n') if '</think>' in message['content'] else message['content']) +",
)
OPENED = QWEN2.replace("{{ '<|im_start|>assistant\n' }}", "{{ '<|im_start|>assistant\n<think>\n' }}")


def wording(folder: Path, tokenizer: Any, method: str = "sft", rows: Any = None, **values: Any) -> list[str]:
    tiny_model(folder / "start", tokenizer)
    config = load_config(write_config(folder, demonstrations(3) if rows is None else rows, method, **values))
    return check_wording(config, load_sources(config), load_tokenizer(str(folder / "start"), config))


@pytest.mark.parametrize("method", ["sft", "grpo"])
@pytest.mark.parametrize("as_tokens", [False, True])
def test_the_layouts_keep_everything(tmp_path: Path, layout: Any, method: str, as_tokens: bool) -> None:
    if as_tokens:
        add_tags(layout)
    assert wording(tmp_path, layout, method) == []


def test_reasoning_that_a_template_sets_anew_is_no_loss(tmp_path: Path) -> None:
    assert wording(tmp_path, qwen2(QWEN3)) == []


def test_a_template_that_removes_reasoning(tmp_path: Path) -> None:
    """Only SFT shows the template an assistant's turn; a template of the user's own mends it."""
    with pytest.raises(ConfigError) as caught:
        wording(tmp_path, qwen2(WITHOUT_THOUGHTS))
    assert (
        "sources.rows: row synthetic-train-hard-3-0: the chat template takes <think> out of an assistant's turn"
        in str(caught.value)
    )
    assert "train.chat_template_path: FILE.jinja" in str(caught.value)
    assert wording(tmp_path, qwen2(WITHOUT_THOUGHTS), "grpo") == []
    (tmp_path / "plain.jinja").write_text(QWEN2, encoding="utf-8")
    mended = {"chat_template_path": str(tmp_path / "plain.jinja")}
    assert wording(tmp_path, qwen2(WITHOUT_THOUGHTS), train=mended) == []


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_tags_as_special_tokens(tmp_path: Path, method: str) -> None:
    tokenizer = qwen2()
    tokenizer.add_special_tokens({"additional_special_tokens": list(TAGS)})
    with pytest.raises(ConfigError, match="<think> is a special token of the tokenizer, so it is gone from decoded"):
        wording(tmp_path, tokenizer, method)


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_a_template_that_opens_the_think_block(tmp_path: Path, method: str) -> None:
    with pytest.raises(ConfigError, match="the chat template itself writes <think> at the end of a prompt"):
        wording(tmp_path, qwen2(OPENED), method)


def test_a_template_that_does_not_end_the_answer(tmp_path: Path) -> None:
    (note,) = wording(tmp_path, qwen2(QWEN2.replace("'<|im_end|>' + '\n'", "'\n'")))
    assert "does not end an answer with the end token '<|im_end|>'" in note


def test_words_that_a_tokenizer_cannot_spell(tmp_path: Path) -> None:
    from tests.training.layouts import quickstart

    rows = demonstrations(2)
    rows[0]["completion"] = rows[0]["completion"].replace("Answer: ", "Answer: Zürich ")
    (note,) = wording(tmp_path, quickstart(), rows=rows)
    assert "the tokenizer changes the text of answers: 'zürich" in note


def test_check_and_train_stop_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model(tmp_path / "start", qwen2(WITHOUT_THOUGHTS))
    path = str(write_config(tmp_path, demonstrations(3), train={"max_steps": 1}))
    for verb in ("check", "train"):
        assert cli.main([verb, path]) == 2
        assert "the chat template takes <think> out" in capsys.readouterr().err
    (tmp_path / "start/chat_template.jinja").write_text(QWEN2, encoding="utf-8")
    assert check(load_config(path)).warnings == []
