"""`rlkit quickstart`: the whole way on a task's small made-up world, with a table and a few completions at the end."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=("care", "memory_t1"), default="care", help="what is learned (default care)")
    parser.add_argument("--seed", type=int, default=0, help="decides data, initial weights and sampling (default 0)")
    parser.add_argument("--folder", type=Path, help="an empty or new folder (default runs/quickstart-TASK-seedN-TIME)")
    parser.add_argument("--json", action="store_true", help="print the table as JSON and nothing else")


def main(args: argparse.Namespace) -> int:
    from rlkit.quickstart.stages import new_folder, run, world_of

    folder = new_folder(args.task, args.seed, args.folder)
    with contextlib.redirect_stdout(sys.stderr):  # libraries must not write into the JSON
        result = run(args.task, args.seed, folder)
    if args.json:
        print(json.dumps(result))
        return 0
    from rlkit.console import standard_output
    from rlkit.quickstart.tables import print_samples, print_table

    console = standard_output()
    world = world_of(args.task)
    print_samples(console, world, folder / "evaluation")
    print_table(console, world, result["table"])
    console.print(f"seed {args.seed}, {result['seconds']:.0f} s; everything is in {folder}", highlight=False)
    return 0
