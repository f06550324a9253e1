"""`python -m rlkit.ablation.rejection CONFIG`: right answers to the training prompts of a GRPO config, as rows for SFT.

The control that gives SFT what GRPO had: the same prompts in the same order, as many answers to each, the same reward as
judge. Of the right answers to a prompt, the best is kept; a prompt without one gives no row.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from rewards import Sample, Weighted
from rlkit.config import Config, load_config
from rlkit.data.record import Record, to_record
from rlkit.errors import ConfigError
from rlkit.fitting import fitted
from rlkit.generation.local import Local
from rlkit.runs import write_json, write_text
from rlkit.sources import in_order, load_sources, plan_rows
from rlkit.training.support import with_start_model

RIGHT = "accuracy"  # the part that says whether an answer is right
SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
)  # of a GRPO config, as transformers calls them
PROMPTS_AT_A_TIME = 64


def kept_rows(config: Config, reward: Weighted) -> Iterator[tuple[Record, int, int]]:
    """For each planned prompt: its record with the best right completion (or none), right answers, and answers in all."""
    sources = load_sources(config)
    group = config.setting("num_generations")
    given = {name: config.setting(name) for name in SAMPLING}
    sampling = {
        "max_new_tokens": config.setting("max_completion_length"),
        "do_sample": True,
        **{name: value for name, value in given.items() if value is not None},
    }
    model = Local(str(config.model["model_name_or_path"]), {**sampling, "seed": config.setting("seed")}, batch_size=128)
    ready = fitted(config, sources, model.tokenizer)
    planned = in_order(config, ready, *plan_rows(config, ready, 1))
    rows = iter(planned.rows)
    start = 0
    while batch := list(islice(rows, PROMPTS_AT_A_TIME)):
        prompts = planned.with_prompt({key: [row[key] for row in batch] for key in batch[0]})["prompt"]
        asked = [prompt for prompt in prompts for _ in range(group)]
        replies = list(_numbered(model, start).complete(asked))
        start += len(asked)
        for number, row in enumerate(batch):
            record = to_record(row)
            texts = [reply.text for reply in replies[number * group : (number + 1) * group]]
            scores = reward.batch([Sample.from_record(record, completion=text) for text in texts])
            right = [at for at, score in enumerate(scores) if score.parts[RIGHT] == 1.0]
            best = max(right, key=lambda at: scores[at].total or 0.0) if right else None
            yield ({**record, "completion": "" if best is None else texts[best]}), len(right), group


def _numbered(model: Local, start: int) -> Local:
    """The model with a seed of its own for each part of the prompts, so that equal prompts get different answers."""
    return replace(model, sampling={**model.sampling, "seed": model.sampling["seed"] * 1_000_003 + start})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rlkit.ablation.rejection", description=__doc__)
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_intermixed_args(arguments)

    from rewards.config import from_config
    from rlkit.quickstart.stages import keep_quiet
    from rlkit.training.stopping import follow_launcher

    follow_launcher()
    keep_quiet()
    config = load_config(args.config, args.overrides)
    reward = from_config(config.to_dict()["rewards"])
    if RIGHT not in reward.parts:
        raise ConfigError(
            f"{args.config}: rewards: has no part {RIGHT!r}, which says which answers are right; name one so."
        )
    reward = with_start_model(reward, str(config.model["model_name_or_path"]), config.prompt.system)
    lines, prompts, right, answers = [], 0, 0, 0
    for record, hits, asked in kept_rows(config, reward):
        prompts, right, answers = prompts + 1, right + hits, answers + asked
        if record["completion"]:
            lines.append(json.dumps({**record, "id": f"{record['id']}-{prompts}"}, ensure_ascii=False, default=str))
    if not lines:
        raise ConfigError(f"{args.config}: none of {answers} answers was right, so there is nothing to learn from.")
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "report.json", {"prompts": prompts, "answers": answers, "right": right, "kept": len(lines)})
    write_text(args.out / "kept.jsonl", "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
