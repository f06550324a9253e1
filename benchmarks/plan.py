"""What `rlkit plan` predicts beside what real SFT and GRPO steps hold, term by term, in one run.

python benchmarks/plan.py [--cases sft grpo zero2 ...] [--keep FOLDER] [--markdown]

Every case trains a model of 13 million parameters, randomly initialised, for three steps: large enough that its states, and not
Python, fill the memory that is measured. On a CPU every allocation of PyTorch is followed by its profiler; on a CUDA GPU
`torch.cuda.memory_allocated` and `max_memory_allocated` are read, reset at every moment. Cases `zero*` start two processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rlkit.config import Config, load_config
from rlkit.planning.lengths import Lengths
from rlkit.planning.memory import Estimate, estimate
from rlkit.planning.setup import read_setup
from rlkit.planning.shapes import shape_of

ROOT = Path(__file__).resolve().parents[1]
MB = 1_000_000
MODEL = {
    "model_type": "qwen2",
    "vocab_size": 400,
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
COMMON = {"max_steps": 3, "learning_rate": 1e-4, "save_strategy": "no", "gradient_checkpointing": False, "seed": 7}
SFT = {"per_device_train_batch_size": 8}
GRPO = {"per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 12}
# Two sequences and two batches a step, so that states weigh more than activations and gradients outlive a batch.
STATES = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "num_generations": 4,
    "max_completion_length": 2,
}
CASES: dict[str, dict[str, Any]] = {
    "sft": {"method": "sft", "train": SFT},
    "sft-checkpointing": {"method": "sft", "train": {**SFT, "gradient_checkpointing": True}},
    "sft-lora": {"method": "sft", "train": SFT, "model": {"use_peft": True, "lora_target_modules": "all-linear"}},
    "grpo": {"method": "grpo", "train": GRPO},
    "grpo-reference": {"method": "grpo", "train": {**GRPO, "beta": 0.04}},
    "grpo-bfloat16": {"method": "grpo", "train": {**GRPO, "bf16": True}, "model": {"dtype": "bfloat16"}},
    "grpo-lora": {"method": "grpo", "train": GRPO, "model": {"use_peft": True, "lora_target_modules": "all-linear"}},
    **{f"zero{stage}": {"method": "grpo", "train": {**STATES, "bf16": True}, "stage": stage} for stage in range(4)},
    **{f"zero{stage}-32bit": {"method": "grpo", "train": STATES, "stage": stage} for stage in (1, 2, 3)},
    "zero3-lora": {
        "method": "grpo",
        "train": {**STATES, "bf16": True},
        "stage": 3,
        "model": {"use_peft": True, "lora_target_modules": "all-linear"},
    },
}
SMALL_BUCKET = 1_000_000  # elements; the shipped 500 million would be all that a small model's run holds


@dataclass(frozen=True)
class Row:
    """One term: bytes predicted and measured."""

    case: str
    term: str
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1 if self.measured else 0.0


# -- inside the run that is measured ------------------------------------------------------------------------------------


class CpuMeter:
    """Every allocation and release of PyTorch on the CPU, between moments that the run marks."""

    def __init__(self) -> None:
        from torch.profiler import ProfilerActivity, profile

        self.profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True)
        self.marks: list[tuple[int, str]] = []

    def mark(self, name: str) -> None:
        self.marks.append((time.time_ns(), name))

    def run(self, call: Callable[[], int]) -> list[tuple[str, int, int]]:
        """Rows (moment, bytes held then, most bytes held since the moment before)."""
        with self.profile:
            if call() != 0:
                raise SystemExit("the measured run failed")
        events = self.profile.profiler.kineto_results.events()  # type: ignore[union-attr]
        changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
        rows, held, place = [], 0, 0
        for when, name in self.marks:
            most = held
            while place < len(changes) and changes[place][0] <= when:
                held += changes[place][1]
                most, place = max(most, held), place + 1
            rows.append((name, held, most))
        return rows


class CudaMeter:
    """PyTorch's own count on the GPU, read and reset at every moment. Not yet measured."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, int]] = []

    def mark(self, name: str) -> None:
        import torch

        torch.cuda.synchronize()
        self.rows.append((name, torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()))
        torch.cuda.reset_peak_memory_stats()

    def run(self, call: Callable[[], int]) -> list[tuple[str, int, int]]:
        if call() != 0:
            raise SystemExit("the measured run failed")
        return self.rows


def measure(out: Path, arguments: list[str]) -> None:
    """Run `rlkit` with moments marked and write what it held to `out`, one file a process."""
    import torch

    from rlkit import cli
    from rlkit.training import common

    meter: CpuMeter | CudaMeter = CudaMeter() if torch.cuda.is_available() else CpuMeter()
    shapes: list[list[list[int]]] = []
    finish = common.finish

    def marked_finish(trainer: Any, *rest: Any) -> None:
        from transformers import TrainerCallback

        class Steps(TrainerCallback):
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                meter.mark("step begins")

            def on_step_end(self, *_: Any, **__: Any) -> None:
                meter.mark("step ends")

        trainer.add_callback(Steps())
        meter.mark("built")
        _marked(trainer, "_generate", meter)
        _marked(trainer.accelerator, "backward", meter)
        loss = trainer.compute_loss

        def marked_loss(model: Any, inputs: Mapping[str, Any], *more: Any, **named: Any) -> Any:
            sizes = ("prompt_ids", "completion_ids", "input_ids")
            shapes.append([list(inputs[name].shape) for name in sizes if name in inputs])
            meter.mark("loss begins")
            result = loss(model, inputs, *more, **named)
            meter.mark("loss ends")
            return result

        trainer.compute_loss = marked_loss
        finish(trainer, *rest)

    common.finish = marked_finish  # type: ignore[assignment]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = meter.run(lambda: cli.main(arguments))
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    text = json.dumps({"rows": rows, "shapes": shapes, "process_kib": process, "device": type(meter).__name__})
    out.with_suffix(f".{os.environ.get('RANK', '0')}.json").write_text(text, encoding="utf-8")


def _marked(owner: Any, name: str, meter: CpuMeter | CudaMeter) -> None:
    call = getattr(owner, name, None)
    if call is None:
        return

    def marked(*rest: Any, **named: Any) -> Any:
        meter.mark(f"{name} begins")
        result = call(*rest, **named)
        meter.mark(f"{name} ends")
        return result

    setattr(owner, name, marked)


# -- around it ----------------------------------------------------------------------------------------------------------


def write_case(name: str, folder: Path) -> Path:
    """The config of a case, in a folder of its own."""
    case = CASES[name]
    sft = case["method"] == "sft"
    values: dict[str, Any] = {
        "method": case["method"],
        "scratch": MODEL,
        "prompt": {"system": None},
        "sources": {
            "rows": {
                "format": "synthetic",
                "level": "easy",
                "rows": 64,
                "seed": 1,
                **({"demonstrations": True} if sft else {}),
            }
        },
        "train": {"bf16": False, **COMMON, **case["train"], "output_dir": str(folder / "run")},
    }
    if "model" in case:
        values["model"] = case["model"]
    if not sft:
        values["alarms"] = False
    if "stage" in case:
        zero = json.loads((ROOT / f"configs/deepspeed/zero{max(case['stage'], 1)}.json").read_text(encoding="utf-8"))
        zero["zero_optimization"]["stage"] = case["stage"]
        if case["stage"] < 3:
            zero["zero_optimization"]["reduce_bucket_size"] = SMALL_BUCKET
        (folder / "zero.json").write_text(json.dumps(zero), encoding="utf-8")
        values["train"]["deepspeed"] = str(folder / "zero.json")
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def run_case(name: str, folder: Path) -> tuple[Config, dict[str, Any]]:
    """Train a case in processes of its own; what it held, on the first of them."""
    path, out = write_case(name, folder), folder / "held"
    command = [str(Path(__file__).resolve()), "--measure", str(out), "train", str(path)]
    bin_folder = Path(sys.executable).parent
    port = str(29_000 + os.getpid() % 2_000)
    launcher = ["--num_gpus", "2", "--no_local_rank", "--master_port", port]
    start = [str(bin_folder / "deepspeed"), *launcher] if "stage" in CASES[name] else [sys.executable]
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "HF_DEACTIVATE_ASYNC_LOAD": "1",  # the profiler sees the allocations of the thread that it was started in
        "OMP_NUM_THREADS": "1",
    }
    if not _cuda():
        environment["DS_ACCELERATOR"] = "cpu"
    done = subprocess.run([*start, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return load_config(path), json.loads(out.with_suffix(".0.json").read_text(encoding="utf-8"))


def kept_case(name: str, keep: Path | None, folder: Path) -> tuple[Config, dict[str, Any]]:
    """`run_case`, or what an earlier call left in `keep`."""
    file = None if keep is None else keep / f"{name}.json"
    if file is not None and file.is_file():
        return load_config(write_case(name, folder)), json.loads(file.read_text(encoding="utf-8"))
    config, held = run_case(name, folder)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(held), encoding="utf-8")
    return config, held


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def compare(name: str, config: Config, held: Mapping[str, Any]) -> list[Row]:
    """Predicted and measured bytes of a case, at the second step of its run (the first one still builds the optimizer)."""
    second = _second_step(held["rows"])
    sizes = held["shapes"][len(held["shapes"]) // 3 : 2 * len(held["shapes"]) // 3]  # of the batches of the second step
    widest = max(sizes, key=lambda batch: sum(size[1] for size in batch))
    lengths = Lengths(widest[0][1], widest[1][1] if len(widest) > 1 else 1, "measured")
    if len(widest) == 1:
        lengths = Lengths(widest[0][1] - 1, 1, "measured")
    world = 2 if "stage" in CASES[name] else 1
    setup = read_setup(config, shape_of(config), lengths, world)
    counted = estimate(setup, 1, on_gpu=held["device"] == "CudaMeter")
    parts = {term.name: term.bytes for term in counted.terms}
    split = CASES[name].get("stage") == 3  # its gradients lie in a buffer that stays
    start = second["step begins"][0]
    rows = [Row(name, "states between steps", _between_steps(counted, split), start)]
    if "_generate ends" in second:
        extra = max(second["_generate ends"][1] - second["_generate begins"][0], 1)
        rows.append(Row(name, "generation", counted.at("generation"), extra))
    kept = counted.at("kept") - parts.get("attention mask", 0) - parts.get("communication buckets", 0)
    if setup.tokens > 500:
        rows.append(Row(name, "kept by the forward pass", kept, second["loss ends"][0] - second["loss begins"][0]))
    rows.append(Row(name, "largest at once", counted.gpu, max(most for _, most in second.values())))
    return rows


def _between_steps(counted: Estimate, keeps_gradients: bool) -> int:
    """What is left when gradients are gone and nothing is gathered."""
    passing = ["DDP buckets", "gathered and kept for reuse", "largest module, gathered"]
    passing += [] if keeps_gradients else ["gradients"]
    return sum(term.bytes for term in counted.terms if term.moment == "resident" and term.name not in passing)


def _second_step(rows: list[tuple[str, int, int]]) -> dict[str, tuple[int, int]]:
    """Moment -> (held, most since the moment before) in the second step; of a moment that comes twice, the larger ones."""
    begins = [place for place, (name, _, _) in enumerate(rows) if name == "step begins"]
    found: dict[str, tuple[int, int]] = {}
    for name, held, most in rows[begins[1] : begins[2]]:
        known = found.get(name)
        found[name] = (held, most) if known is None else (known[0], max(most, known[1]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument(
        "--keep", type=Path, help="a folder for what was measured; what lies there is not measured again"
    )
    parser.add_argument("--markdown", action="store_true", help="print a table for docs/plan.md")
    args = parser.parse_args()
    print(
        "| case | term | predicted MB | measured MB | error |\n|---|---|---|---|---|"
        if args.markdown
        else f"{'case':<20}{'term':<28}{'predicted':>10}{'measured':>10}  error"
    )
    for name in args.cases:
        with tempfile.TemporaryDirectory() as folder:
            config, held = kept_case(name, args.keep, Path(folder))
            rows = compare(name, config, held)
        for row in rows:
            cells = (f"{row.predicted / MB:,.1f}", f"{row.measured / MB:,.1f}", f"{row.error:+.0%}")
            if args.markdown:
                print(f"| {row.case} | {row.term} | {' | '.join(cells)} |", flush=True)
            else:
                print(f"{row.case:<20}{row.term:<28}{cells[0]:>10}{cells[1]:>10}  {cells[2]}", flush=True)
        print(f"{'':<20}process: {held['process_kib'] * 1024 / MB:,.0f} MB more than at its start", file=sys.stderr)


if __name__ == "__main__":
    if "--measure" in sys.argv:
        place = sys.argv.index("--measure")
        measure(Path(sys.argv[place + 1]), sys.argv[place + 2 :])
    else:
        main()
