"""`python -m rlkit.ablation.world_model`: the quickstart's base model of a task alone, as the first stage of an ablation."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

MADE_AS = "world.json"  # in the model's folder: what decided it


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rlkit.ablation.world_model", description=__doc__)
    parser.add_argument("--task", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--hidden-size", type=int)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)

    import torch

    from rlkit.ablation.worlds import WORLDS
    from rlkit.errors import RunError
    from rlkit.quickstart.stages import keep_quiet, train_base
    from rlkit.runs import write_folder, write_json
    from rlkit.training.stopping import follow_launcher

    follow_launcher()
    torch.set_num_threads(1)
    keep_quiet()
    world = WORLDS[args.task]
    if args.hidden_size is not None:
        world = replace(world, hidden_size=args.hidden_size)

    made_as = {"task": args.task, "seed": args.seed, "steps": args.steps, "hidden_size": args.hidden_size}
    if args.out.is_dir():  # made by a command that was killed before it could be noted, or by another one
        told = args.out / MADE_AS
        if told.is_file() and json.loads(told.read_text(encoding="utf-8")) == made_as:
            return 0
        raise RunError(f"{args.out}: is there and was not made as asked for ({json.dumps(made_as)}); remove it to have it made again.")  # fmt: skip

    def fill(folder: Path) -> None:
        train_base(world, folder, args.seed, args.steps)
        write_json(folder / MADE_AS, made_as)

    write_folder(args.out, fill)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
