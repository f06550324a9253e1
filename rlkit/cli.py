"""The command line: finds the verb, runs it, turns errors a user can act on into one message and exit code 2.

Each verb is a module with `add_arguments(parser)` and `main(args) -> int`; it is imported only when it is called, so
that `rlkit --help` is immediate.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import textwrap
from collections.abc import Sequence

from rewards.errors import RewardError
from rlkit.errors import RlkitError, nearest

# verb -> (module, one line, one real example)
VERBS = {
    "quickstart": (
        "rlkit.quickstart.command",
        "base model, SFT, GRPO and evaluation on a small made-up world",
        "rlkit quickstart --seed 7",
    ),
    "check": (
        "rlkit.check",
        "what a run would do: data, golds, batches, lengths, curriculum",
        "rlkit check configs/quickstart/hotpotqa_musique.yaml",
    ),
    "plan": (
        "rlkit.plan",
        "before the first GPU hour: memory per GPU, the ZeRO stage that fits, tokens and steps",
        "rlkit plan configs/care/qwen2.5-7b.yaml --gpus 8 --gpu-memory 80",
    ),
    "train": (
        "rlkit.train",
        "SFT or GRPO, alone or under deepspeed or torchrun",
        "rlkit train configs/quickstart/hotpotqa_musique.yaml train.max_steps=5",
    ),
    "launch": (
        "rlkit.launch",
        "train on several GPUs or machines: starts deepspeed, torchrun or accelerate, and ends them all",
        "rlkit launch configs/care/qwen2.5-7b.yaml --gpus 8 --dry-run",
    ),
    "watch": (
        "rlkit.watch",
        "a run in the terminal while it trains: parts, curriculum, speed, time left, last completions",
        "rlkit watch runs/care",
    ),
    "distill": (
        "rlkit.distill.command",
        "SFT data in the CARE format from a reasoner and an injector behind endpoints, or local models",
        "rlkit distill configs/distill/hotpotqa.yaml sources.hotpotqa.limit=100",
    ),
    "evaluate": (
        "rlkit.evaluate",
        "a model, or completions that exist already, on the papers' suites",
        "rlkit evaluate --model runs/care --suite hotpotqa musique",
    ),
    "ablate": (
        "rlkit.ablate",
        "variants of one training over several seeds, and what each part is worth",
        "rlkit ablate configs/ablate/quick.yaml --jobs 2",
    ),
    "report": (
        "rlkit.report",
        "one HTML file about runs: curves, alarms, evaluation, every completion with its evidence",
        "rlkit report runs/care --out report.html",
    ),
    "score": (
        "rlkit.score",
        "score completions that already exist",
        "rlkit score completions.jsonl --rewards care --out scored.jsonl",
    ),
    "explain": (
        "rlkit.explain",
        "why a completion got its score, in words",
        "rlkit explain runs/care/samples.jsonl:-1",
    ),
    "audit": (
        "rlkit.audit",
        "does cheating pay? honest completions and known cheats, and what each earns",
        "rlkit audit care",
    ),
    "serve-rewards": (
        "rlkit.serve_rewards",
        "the reward over HTTP, for any framework",
        "rlkit serve-rewards --rewards care --port 8300",
    ),
    "ask": (
        "rlkit.ask",
        "one question about one memory: candidate sessions, what the model selects, its answer",
        'rlkit ask --memory locomo.json --question "When did Ann move?" --model runs/memory_t1',
    ),
    "completion": (
        "rlkit.completion",
        "a script that completes verbs, options and files in the shell",
        "rlkit completion bash > ~/.local/share/bash-completion/completions/rlkit",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns 0 (done), 1 (done, with findings), 2 (refused, with a message) or 130 (interrupted)."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        code = _run([a for a in arguments if not a.startswith(("--local_rank", "--local-rank"))])
        sys.stdout.flush()
        return code
    except (RlkitError, RewardError) as error:
        who = f"[process {os.environ['RANK']}] " if int(os.environ.get("WORLD_SIZE", "1")) > 1 else ""
        print(f"{who}error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, e.g. `head`, has seen enough; what is still buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: Sequence[str]) -> int:
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help"):
        print(_overview())
        return 0
    if verb == "--version":
        from rlkit import __version__

        print(__version__)
        return 0
    if verb not in VERBS:
        raise RlkitError(f"no verb {verb!r}.{nearest(verb, VERBS)} Verbs: {', '.join(VERBS)}.")
    _show_log()
    module_name, help_line, example = VERBS[verb]
    module = importlib.import_module(module_name)
    parser = argparse.ArgumentParser(
        prog=f"rlkit {verb}",
        description=textwrap.fill(help_line, 80),
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,  # a wrapped example cannot be copied
    )
    module.add_arguments(parser)
    return module.main(parser.parse_intermixed_args(arguments[1:]))  # options may stand between overrides


def _show_log() -> None:
    """What the toolkit has to tell goes to standard error; other libraries keep their own settings."""
    log = logging.getLogger("rlkit")
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)


def _overview() -> str:
    lines = ["usage: rlkit VERB ...", ""]
    lines += [f"  {verb:<15}{line}" for verb, (_, line, _) in VERBS.items()]
    lines += ["", "examples:"]
    lines += [f"  {example}" for _, _, example in VERBS.values()]
    lines += [
        "",
        "rlkit VERB --help says more. Exit codes: 0 done, 1 done with findings, 2 refused with a message, 85 stopped with a checkpoint.",
    ]
    return "\n".join(lines)
