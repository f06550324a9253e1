"""A plan as tables on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlkit.planning.choose import Choice, keys_of
from rlkit.planning.lengths import Lengths
from rlkit.planning.setup import Setup
from rlkit.planning.shapes import FAMILIES
from rlkit.planning.term import GIB, MOMENTS

if TYPE_CHECKING:
    from rlkit.plan import Report


def show(name: str, report: Report) -> None:
    """Print what a config takes, what fits instead, and how much work the run is."""

    from rlkit.console import standard_output

    console = standard_output(piped_width=180)
    setup, room = report.setup, report.room
    shape, lengths = setup.shape, setup.lengths
    trained = "all trained" if setup.adapter is None else f"{_count(setup.trainable)} trained (LoRA)"
    machines = f"{setup.nodes} x {setup.gpus}" if setup.nodes > 1 else f"{setup.gpus}"
    console.print(
        f"[bold]{name}[/bold]: {setup.method} of {shape.name} ({_count(shape.parameters)} parameters, {trained}) on "
        f"{machines} GPU(s) of {room.gpu / GIB:g} GiB"
    )
    console.print(
        f"{_lengths(lengths)} ({lengths.told}); {setup.sequences} sequence(s) a forward pass on a GPU; {_weights(setup)}",
        markup=False,
    )
    if shape.model_type not in FAMILIES:
        console.print(
            f"activations of model type {shape.model_type} are counted as those of a Llama of its sizes: roughly"
        )
    _terms(console, report)
    _choices(console, report)
    _verdict(console, report)
    _work(console, report)


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:,.3f}B" if parameters >= 1e9 else f"{parameters / 1e6:,.2f}M"


def _lengths(lengths: Lengths) -> str:
    if not lengths.completion:
        return f"sequences of up to {lengths.prompt:,} tokens"
    return f"prompts of up to {lengths.prompt:,} and completions of up to {lengths.completion:,} tokens"


def _weights(setup: Setup) -> str:
    stored = setup.weight_bytes if setup.zero.stage is not None else setup.state_bytes
    computes = f", computing in {8 * setup.weight_bytes}" if stored != setup.weight_bytes else ""
    return f"weights of {8 * stored} bits{computes}"


def _terms(console: Any, report: Report) -> None:
    from rich.table import Table

    counted = report.own.estimate
    table = Table(
        "memory per GPU",
        "when",
        "GiB",
        "formula",
        title=f"as the config says: {_place(report.own)}",
        title_justify="left",
    )
    for moment in MOMENTS:
        for term in counted.terms:
            if term.moment == moment:
                table.add_row(term.name, moment, f"{term.bytes / GIB:,.2f}", term.formula)
    console.print()
    console.print(table)
    busiest = counted.busiest()
    kept = f"{counted.at('kept') / GIB:,.1f} kept + " if busiest in ("loss", "backward") else ""
    console.print(
        f"most in the moment `{busiest}`: {counted.at('resident') / GIB:,.1f} resident + {kept}{counted.at(busiest) / GIB:,.1f} = "
        f"{counted.gpu / GIB:,.1f} GiB of {report.room.usable / GIB:,.1f} ({report.room.gpu / GIB:g} less a margin of "
        f"{report.room.margin:.0%}); host {counted.host / GIB:,.0f} GiB"
    )
    if report.estimator is not None:
        gpu, host = (size / GIB for size in report.estimator)
        console.print(f"DeepSpeed's own estimate of the trained states: {gpu:,.2f} GiB a GPU, {host:,.0f} GiB a host")


def _choices(console: Any, report: Report) -> None:
    from rich.table import Table

    table = Table(
        "ZeRO stage", "offload to host", "GiB per GPU", "GiB per host", "fits", title="choices", title_justify="left"
    )
    for choice in report.found:
        marks = ["the config's"] if choice.of_config else []
        marks += ["recommended"] if choice is report.recommended else []
        mark = f"  <- {', '.join(marks)}" if marks else ""
        table.add_row(
            _stage(choice),
            choice.zero.offload,
            f"{choice.estimate.gpu / GIB:,.1f}",
            f"{choice.estimate.host / GIB:,.0f}",
            ("yes" if choice.problem is None else "no") + mark,
        )
    console.print()
    console.print(table)
    if report.room.host is None:
        console.print("the host's memory is not judged; give --host-memory")


def _verdict(console: Any, report: Report) -> None:
    own, best = report.own, report.recommended
    if own.problem is None:
        console.print("\nfits", style="green")
        if best is not None and best is not own and own.zero.stage is not None:
            console.print(f"the cheapest that fits: {_place(best)}; {keys_of(best.zero)}", markup=False)
        return
    console.print(f"\ndoes not fit: {own.problem}", style="red", markup=False)
    if report.ways:
        console.print("each line of changes makes it fit:")
        for change, choice in report.ways:
            console.print(f"  {change}  ({choice.estimate.gpu / GIB:,.1f} GiB)", markup=False)
    elif best is not None:
        console.print(f"what fits: {_place(best)}; {keys_of(best.zero)}", markup=False)
    else:
        console.print(
            "no two changes make it fit; use more GPUs, or shorter prompts or completions (prompt.max_tokens, "
            "train.max_completion_length)"
        )


def _work(console: Any, report: Report) -> None:
    work, setup = report.work, report.setup
    console.print(
        f"\nwork: {work.sequences_per_step:,} sequences x {setup.lengths.total:,} tokens = up to {work.tokens_per_step:,} tokens an "
        f"optimizer step" + (f", {work.steps:,} steps" if work.steps is not None else "")
    )
    if work.hours is not None:
        console.print(f"about {work.hours:,.1f} hours at most, at the given speed and full lengths")
    for line in work.missing:
        console.print(f"not known: {line}", markup=False)
    if work.refused is not None:
        console.print(f"the run would be refused: {work.refused}", style="red", markup=False)


def _stage(choice: Choice) -> str:
    return "none (PyTorch)" if choice.zero.stage is None else str(choice.zero.stage)


def _place(choice: Choice) -> str:
    if choice.zero.stage is None:
        return "no DeepSpeed"
    return f"ZeRO {choice.zero.stage}, offload {choice.zero.offload}"
