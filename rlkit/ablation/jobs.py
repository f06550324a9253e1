"""The jobs of an ablation: the commands that make and evaluate every model, and the notes that say which are done.

A job is a command that one can also type. It is done when its note says so: written after the command ended well, with
everything that decided the result. A training has one from its start on, because it may go on where it was interrupted.
Another says of a job that failed how it did, until it is tried again. Knows commands, settings and folders; starts no
process (`running` does) and knows no figure.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rewards.errors import RewardError
from rlkit.ablation.inputs import missing_files, named_files
from rlkit.ablation.settings import Ablation, Stage
from rlkit.config import differences
from rlkit.errors import DataError, RlkitError, RunError
from rlkit.evaluation.suite import suite_names
from rlkit.plain import plain
from rlkit.runs import Run


@dataclass(frozen=True)
class Job:
    """`command` makes what `note` stands beside; `settings` is what decides its result, with the digests of the jobs that it
    is `made_from` and of the `files` that its settings, or theirs, name.

    `run` is the folder of a training, whose own last file says as well that it is done.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    note: Path
    settings: Mapping[str, Any]
    run: Path | None = None
    made_from: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def decided_by(self) -> str:
        """A digest of everything that decides the result but the content of files."""
        told = json.dumps(plain([self.settings, self.made_from]), sort_keys=True, default=str)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    @property
    def log(self) -> Path:
        return self.note.with_suffix(".log")

    @property
    def failure(self) -> Path:
        return failure_of(self.note)

    def is_done(self) -> bool:
        """Whether it ran before; raises `RunError` where it ran with other settings, or from something else."""
        changed = self.stale()
        if changed:
            lines = "\n  ".join(changed)
            raise RunError(
                f"{self.told}: was made with other settings and is not mixed with new ones. What differs:\n  {lines}\n"
                f"Set these back, choose another output_dir, or remove what is old to have it made again: {removing([self])}"
            )
        return self.note.is_file()

    @property
    def begun(self) -> Path:
        """What is written in the note's place when a training starts."""
        return self.note.with_name(self.note.name.replace(".done.json", ".started.json"))

    @property
    def told(self) -> Path | None:
        """The note that says of what there is how it was made; `None` where there is nothing that could be gone on with."""
        if self.note.is_file():
            return self.note
        return self.begun if self.run is not None and self.begun.is_file() and Run(self.run).started else None

    @property
    def made(self) -> Path:
        """The folder beside the note."""
        return self.note.with_name(self.note.name.removesuffix(".done.json"))

    def stale(self) -> list[str]:
        """What differs between that of which the note tells and what is asked for now."""
        if self.told is None:
            return []
        note = read_note(self.told, ("settings", "seconds"))
        changed = differences(note["settings"], json.loads(json.dumps(self.settings, default=str)))
        for key, now in (("made_from", self.made_from), ("files", self.files)):
            before = note.get(key, {})  # a file that is gone, as after a move to another machine, changes nothing
            changed += [f"{name}: is another one now" for name in now if before.get(name, now[name]) != now[name]]
        return changed

    def noted(self, seconds: float, made_with: Mapping[str, Any]) -> dict[str, Any]:
        """What the note of this job holds."""
        told = {"command": list(self.command), "seconds": round(seconds, 1), "made_with": made_with}
        return {**told, "settings": self.settings, "made_from": self.made_from, "files": self.files}


def removing(jobs: Sequence[Job]) -> str:
    """The command that removes what jobs have made, to have it made again."""
    paths = [path for job in jobs for path in (job.note, job.begun, job.failure, job.made) if path.exists()]
    return shlex.join(["rm", "-r", *map(str, paths)])


def failure_of(note: Path) -> Path:
    """What is written in a note's place where the job failed."""
    return note.with_name(note.name.replace(".done.json", ".failed.json"))


def jobs_of(ablation: Ablation, only: Sequence[str] = ()) -> list[Job]:
    """Everything that has to be made for all seeds, inputs first; `only` names the variants that are wanted."""
    wanted = {*(only or ablation.variants), *ablation.before}
    made = dict[str, Job]()
    for seed in ablation.seeds:
        for stage in ablation.stages.values():
            if stage.name not in wanted:
                continue
            for job in (
                _making(ablation, seed, stage),
                *([_evaluating(ablation, seed, stage)] if stage.has_model else []),
            ):
                inputs = [made[name] for name in job.needs]
                named = named_files(job.settings, ablation.output_dir)
                for other in inputs:  # an edit makes old what was made of it, however far back
                    named = {**other.files, **named}
                made[job.name] = replace(job, made_from={other.name: other.decided_by for other in inputs}, files=named)
    return list(made.values())


def seeds_there(ablation: Ablation) -> list[int]:
    """The seeds for which the output folder holds anything that was made."""
    numbers = [path.parent.name.removeprefix("seed") for path in ablation.output_dir.glob("seed*/*.done.json")]
    return sorted({int(number) for number in numbers if number.isdecimal()})


def done_jobs(jobs: Sequence[Job]) -> set[str]:
    """Which of them ran before. Raises `RunError` where any was made of something else, naming all that are old."""
    stale = [job for job in jobs if job.stale()]
    if len(stale) > 1:
        try:
            stale[0].is_done()
        except RunError as error:
            raise RunError(f"{error}\nIn all {len(stale)} are old: {removing(stale)}") from None
    return {job.name for job in jobs if job.is_done()}


def check_files(jobs: Sequence[Job], output_dir: Path) -> None:
    """Raise `DataError` for files that jobs name and that are not there, before the first one takes its hours."""
    lacking = {path: job.name for job in reversed(jobs) for path in missing_files(job.settings, output_dir)}
    if lacking:
        told = ", ".join(f"{path} ({name})" for path, name in sorted(lacking.items()))
        raise DataError(f"there is no such file: {told}; nothing was started. Put it there, or take another path.")


def check_trainings(ablation: Ablation, jobs: Sequence[Job]) -> None:
    """Raise for what `rlkit train` would refuse without a model (data, batches, curriculum, machine), before the first job
    takes its hours; trainings of one seed stand for those of the others."""
    from rlkit.train import preflight

    names = {job.name for job in jobs if job.run is not None and not (job.run / "done.json").is_file()}
    checked = set[str]()
    for seed in ablation.seeds:
        for stage in ablation.stages.values():
            if f"seed{seed}/{stage.name}" not in names or stage.name in checked or stage.rows is not None:
                continue  # rows that an earlier job has to make can only be read by the training itself
            checked.add(stage.name)
            try:
                preflight(ablation.config(seed, stage.name), start_comes=stage.start is not None)
            except (RlkitError, RewardError) as error:
                raise type(error)(f"{stage.name}: {error}\nNothing was started.") from error


def _making(ablation: Ablation, seed: int, stage: Stage) -> Job:
    folder, python = ablation.folder(seed, stage.name), (sys.executable, "-m")
    number = ablation.training_seed(seed, stage.name)
    settings: dict[str, Any]
    if stage.world is not None:
        command = [*python, "rlkit.ablation.world_model", "--task", stage.world, "--seed", str(number)]
        command += [] if stage.steps is None else ["--steps", str(stage.steps)]
        command += ["--out", str(folder)]
        settings = {"world": stage.world, "steps": stage.steps, "seed": number}
        if stage.hidden_size is not None:
            command += ["--hidden-size", str(stage.hidden_size)]
            settings["hidden_size"] = stage.hidden_size
    elif stage.sample is not None:
        command = [*python, "rlkit.ablation.rejection", stage.sample, *ablation.overrides(seed, stage.name)]
        command += ["--out", str(folder)]
        settings = ablation.config(seed, stage.name).to_dict()
    else:
        assert stage.config is not None
        command = [*python, "rlkit", "train", stage.config, *ablation.overrides(seed, stage.name)]
        settings = ablation.config(seed, stage.name).to_dict()
    needs = tuple(f"seed{seed}/{name}" for name in stage.needs)
    note = folder.with_name(f"{stage.name}.done.json")
    run = None if stage.config is None else folder
    return Job(f"seed{seed}/{stage.name}", tuple(command), needs, note, plain(settings), run)


def _evaluating(ablation: Ablation, seed: int, stage: Stage) -> Job:
    settings, suites = ablation.evaluation(seed)
    asked = [ablation.evaluate] if ablation.evaluate not in suite_names() else ["--suite", ablation.evaluate]
    asked += ablation.questions(seed)
    out = evaluation_folder(ablation, seed, stage.name)
    command = [sys.executable, "-m", "rlkit", "evaluate", *asked, "--model", str(ablation.folder(seed, stage.name))]
    decided = {"model": plain(settings.model), "suites": {suite.name: plain(suite) for suite in suites}}
    name = f"seed{seed}/{stage.name}"
    return Job(
        f"{name} evaluated", (*command, "--out", str(out)), (name,), out.with_name(f"{out.name}.done.json"), decided
    )


def evaluation_folder(ablation: Ablation, seed: int, stage: str) -> Path:
    """Where a model's evaluation lies: beside its folder, which is a run's own."""
    return ablation.folder(seed, stage).with_name(f"{stage}.evaluation")


def read_note(path: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """What a file says that jobs have left; raises `DataError` where it is damaged, or lacks one of `keys`."""
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = [value[key] for key in keys]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read ({type(error).__name__}: {error}), so nobody can say what stands beside it; remove the note and what it "
            "tells of, and the same command makes both again."
        ) from error
    return value
