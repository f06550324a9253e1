"""The set for one GPU, looked at without one: sizes, limits, memory, its tokenizer, and contexts of 8,192 tokens."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from small_gpu_set import FILES, small

from rewards import Sample, fact_coverage
from rlkit.ablation.jobs import jobs_of
from rlkit.ablation.reading import load_ablation
from rlkit.config import load_config
from rlkit.data.load import load_source
from rlkit.errors import DataError
from rlkit.evaluation.suite import load_suite
from rlkit.fitting import Measure
from rlkit.generation.local import Local
from rlkit.generation.weights import GenerationError
from rlkit.plain import plain
from rlkit.plan import plan
from rlkit.planning.choose import Room
from rlkit.planning.term import GIB
from rlkit.prompts import chat_prompt
from rlkit.scratch import bpe_tokenizer, scratch_model
from rlkit.training.tags import TAGS, add_tags
from rlkit.yaml_files import read_yaml_file

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"50m": 49_298_560, "150m": 150_242_560, "500m": 506_664_448}  # without the rows of the four tags
TOKENS_PER_WORD = 1.6  # measured on text that the tokenizer was not made from, see the last tests
WINDOW_TOKENS = 8192
STAGES = ("care/sft", "care/grpo", "memory/sft", "memory/grpo")
REAL = pytest.mark.skipif(not all(path.exists() for path in FILES.values()), reason="../shared/data is not there")


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def base(size):
    return load_config(f"configs/ablate/gpu/base-{size}.yaml")


def commands():
    """What the heads of the files say that one may type."""
    for name in ("care", "memory", "quick"):
        for line in (ROOT / f"configs/ablate/gpu/{name}.yaml").read_text(encoding="utf-8").splitlines():
            if line.startswith("# rlkit ablate "):
                yield shlex.split(line)[3:]


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_the_commands_at_the_head_of_a_file_name_a_whole_set(words):
    ablation = load_ablation(Path(words[0]), words[1:], seeds=[1])
    made = jobs_of(ablation)
    assert len(made) == 2 * len(ablation.stages) - ("answers" in ablation.stages)  # rows alone are not evaluated
    starts = {job.settings["scratch"]["hidden_size"] for job in made if job.name.endswith("/base")}
    assert len(starts) == 1
    assert (768 in starts) == ("150m" in " ".join(words))


@pytest.mark.parametrize("name", ["care", "memory"])
def test_it_asks_what_the_set_for_a_cpu_asks(name):
    here, cpu = (load_ablation(Path(f"configs/ablate/{folder}{name}.yaml")) for folder in ("gpu/", ""))
    assert list(here.stages) == list(cpu.stages)
    assert here.differences == cpu.differences
    for variant in here.variants:
        rewards = [ablation.config(1, variant).to_dict()["rewards"] for ablation in (here, cpu)]
        assert rewards[0] == rewards[1], variant


@pytest.mark.parametrize(("size", "parameters"), SIZES.items())
def test_each_shape_has_as_many_parameters_as_its_name_says(size, parameters):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = plain(base(size).scratch)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(fields.pop("model_type"), **fields))
    assert sum(weight.numel() for weight in model.parameters()) == parameters
    assert abs(parameters / 1e6 / int(size[:-1]) - 1) < 0.02


def test_base_models_differ_in_size_and_rate_alone():
    told = [base(size).to_dict() for size in SIZES]
    assert len({json.dumps(one.pop("scratch")) for one in told}) == 3
    for one in told:
        one["train"].pop("learning_rate")
        one["train"].pop("output_dir")
    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize("size", SIZES)
def test_everything_fits_on_a_gpu_of_80_gib(size, tmp_path):
    shape = tmp_path / "config.json"
    shape.write_text(json.dumps(plain(base(size).scratch)))
    room = Room(80 * GIB, margin=0.08)
    asked = {name: load_config(f"configs/ablate/gpu/{name}.yaml") for name in STAGES}
    for name, config in {**asked, "base": base(size)}.items():
        longest = None if config.method == "grpo" else config.train["max_length"] - 256
        answers = None if config.method == "grpo" else 256
        found = plan(config, room=room, shape=str(shape), rows=5000, prompt_tokens=longest, completion_tokens=answers)
        assert found.fits, (name, found.own.problem or found.work.refused)
        half = plan(
            config,
            room=Room(2 * GIB, 0.08),
            shape=str(shape),
            rows=5000,
            prompt_tokens=longest,
            completion_tokens=answers,
        )
        assert not half.fits  # so that the figure above is one


@pytest.mark.parametrize(("size", "millions"), {"50m": 49, "150m": 150, "500m": 507}.items())
def test_the_page_tells_the_hours_that_the_configs_give(size, millions, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from ablation_hours import costs

    found = []
    for name in ("quick", "care", "memory"):
        ablation = load_ablation(Path(f"configs/ablate/gpu/{name}.yaml"), [f"before.base.config=configs/ablate/gpu/base-{size}.yaml"])  # fmt: skip
        hours = len(ablation.seeds) * sum(cost.hours(100, 30) for _, cost in costs(ablation))
        found.append(f"{hours:.1f}" if name == "quick" else f"{hours:.0f}")
    assert f"| {millions} million | {' | '.join(found)} |" in (ROOT / "docs/ablations_gpu.md").read_text(
        encoding="utf-8"
    )


def sources():
    """Every source of the set, with the tokens that stand beside its context in the model's window."""
    for size in SIZES:
        yield from ((spec, 50 * spec["lookups"]) for spec in base(size).sources.values())
    for name in STAGES:
        config = load_config(f"configs/ablate/gpu/{name}.yaml")
        yield from ((spec, 400) for spec in config.sources.values())
    for name in ("care", "memory"):
        suite = load_suite(f"configs/ablate/gpu/{name}/suite.yaml")
        yield from ((spec, suite.max_new_tokens + 200) for spec in suite.data.values())


def test_no_context_is_longer_than_the_window():
    limits = [(max(spec["words"]) if isinstance(spec["words"], tuple) else spec["words"], more) for spec, more in sources() if spec.get("words")]  # fmt: skip
    assert max(words * TOKENS_PER_WORD + more for words, more in limits) <= 1.05 * WINDOW_TOKENS
    assert max(words for words, _ in limits) * TOKENS_PER_WORD > 0.9 * WINDOW_TOKENS
    for name in ("care/grpo", "memory/grpo"):
        config = load_config(f"configs/ablate/gpu/{name}.yaml")
        assert config.prompt.max_tokens + config.train["max_completion_length"] <= WINDOW_TOKENS / 2
    assert base("50m").train["max_length"] == base("50m").scratch["max_position_embeddings"] == WINDOW_TOKENS


def test_a_missing_file_is_named_before_a_row_is_made():
    named = set()
    for spec, _ in sources():
        paths = {one["path"] for one in (spec, spec.get("of", {}), spec.get("with", {})) if "path" in one}
        if paths and not any(Path(path).exists() for path in paths):
            with pytest.raises(DataError, match=rf"^sources\.one\.(of\.|with\.)?path: .*({'|'.join(paths)})"):
                load_source(plain(spec), "sources.one")
        named |= paths
    assert len(named) == 4


@pytest.fixture(scope="module")
def tokenizer():
    """Of the set's kind and size, made from every other row of the real slices; the others are asked."""
    rows = [
        record for name, path in FILES.items() for record in load_source({"format": name, "path": str(path)}).records()
    ]
    made = bpe_tokenizer([chat_prompt(row, None)[0]["content"] for row in rows[::2]], 16384)
    add_tags(made)
    return made


@REAL
def test_the_tokenizer_gives_back_what_it_was_given(tokenizer):
    text = "<think>She said: “naïve”\n <retrieval>Évora — 北京, 7 °C.</retrieval></think> Answer: Évora 🙂"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert [ids.count(tokenizer.convert_tokens_to_ids(tag)) for tag in TAGS] == [1, 1, 1, 1]
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hm?"}], add_generation_prompt=True, tokenize=False
    )
    assert asked == "<|im_start|>user\nHm?<|im_end|>\n<|im_start|>assistant\n"


@REAL
def test_long_rows_fill_the_window_and_no_more(tokenizer):
    measure = Measure(tokenizer, None)
    for name, subset in (("care", "changed_long"), ("care", "hotpotqa_long"), ("memory", "long")):
        suite = read_yaml_file(ROOT / f"configs/ablate/gpu/{name}/suite.yaml")
        spec = small({"data": {subset: suite["data"][subset]}})["data"][subset]
        rows = list(load_source({**spec, "words": suite["data"][subset]["words"], "rows": 8}, cache_dir=None).records())
        tokens = [measure.prompt(row) for row in rows]
        assert 0.75 * WINDOW_TOKENS < min(tokens) <= max(tokens) <= WINDOW_TOKENS - suite["max_new_tokens"]
        if name == "care":
            whole = [
                Sample.from_record(
                    row, completion="".join(f"<retrieval>{fact}</retrieval>" for fact in row["evidence"])
                )
                for row in rows
            ]
            assert all(
                fact_coverage("recall")(sample.with_completion(f"<think>{sample.completion}</think> Answer: x")) == 1
                for sample in whole
            )


@REAL
def test_a_context_over_the_window_is_refused_in_tokens_of_the_model(tmp_path):
    shape = {"vocab_size": 300, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "max_position_embeddings": WINDOW_TOKENS}  # fmt: skip
    model = scratch_model(tmp_path / "model", shape, ["some text"], seed=1)
    long = {
        "format": "derived",
        "of": {"format": "synthetic"},
        "with": {"format": "musique", "path": str(FILES["musique"])},
        "words": 4700,
        "rows": 1,
    }
    (row,) = load_source(long).records()
    with pytest.raises(
        GenerationError, match=r"a prompt has [\d,]+ tokens and its answer up to 64, but the model reads 8,192"
    ):
        Local(str(model), {"max_new_tokens": 64}).prompt_ids(chat_prompt(row, None))
