"""`python -m rlkit.ablation.world_model`: the quickstart's base model of a task alone, as the first stage of an ablation."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path


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
    from rlkit.quickstart.stages import keep_quiet, train_base
    from rlkit.runs import write_folder
    from rlkit.training.stopping import follow_launcher

    follow_launcher()
    torch.set_num_threads(1)
    keep_quiet()
    world = WORLDS[args.task]
    if args.hidden_size is not None:
        world = replace(world, hidden_size=args.hidden_size)

    def fill(folder: Path) -> None:
        train_base(world, folder, args.seed, args.steps)

    write_folder(args.out, fill)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
