"""`rlkit quickstart`: the whole way on a small made-up world, with a table and a few completions at the end."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="decides data, initial weights and sampling (default 0)")
    parser.add_argument("--folder", type=Path, help="an empty or new folder (default runs/quickstart-seedN-TIME)")
    parser.add_argument("--json", action="store_true", help="print the table as JSON and nothing else")


def main(args: argparse.Namespace) -> int:
    from rlkit.quickstart.stages import new_folder, run

    folder = new_folder(args.seed, args.folder)
    with contextlib.redirect_stdout(sys.stderr):  # libraries must not write into the JSON
        result = run(args.seed, folder)
    if args.json:
        print(json.dumps(result))
        return 0
    from rich.console import Console

    from rlkit.quickstart.tables import print_samples, print_table

    console = Console()
    print_samples(console, folder / "evaluation")
    print_table(console, result["table"])
    console.print(f"seed {args.seed}, {result['seconds']:.0f} s; everything is in {folder}", highlight=False)
    return 0
