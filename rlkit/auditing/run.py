"""An audit as a function: a reward, rows and exploits in, a report out, over several processes where that pays.

Knows neither where the rows are from nor how a report is shown.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain, islice
from typing import Any

from rewards.compose import Weighted
from rewards.exploits import TASKS, Outcome, battery, is_tagged, judge
from rewards.sample import Sample
from rlkit.auditing.report import Line, Report
from rlkit.data.record import Record
from rlkit.errors import ConfigError, DataError, RlkitError
from rlkit.prompts import prompt_of
from rlkit.streams import cores

ROWS_PER_CHUNK = 16
POOL_ROWS = 64  # below this a pool takes longer to start than it saves

Row = tuple[str, Record]  # the source's name, the record


def audit(
    reward: Weighted,
    rows: Iterable[Row],
    exploits: Sequence[Any] = (),
    *,
    workers: int | None = None,
    system: str | None = "default",
) -> Report:
    """What every honest attempt, built-in cheat and further exploit earns on the rows; a row's task chooses its battery.

    `system` is the prompts' system message, as `chat_prompt` takes it: some cheats quote it.
    Raises `RewardError` where the reward or an exploit fails, `DataError` without rows, `ConfigError` for a wrong
    number of workers.
    """
    if workers is not None and not 1 <= workers <= 4 * cores():
        raise ConfigError(
            f"workers is {workers}, but must be from 1 to {4 * cores()} on this machine of {cores()} cores."
        )
    functions = {task: [*battery(task), *(e for e in exploits if e.task == task)] for task in TASKS}
    work = partial(_audit_chunk, reward, functions, system)
    lines = {
        (task, function.__name__): Line(function.__name__, task, is_tagged(function, "cheat"))
        for task in TASKS
        for function in functions[task]
    }
    count = 0
    tasks: set[str] = set()
    for size, seen in _over_processes(work, rows, workers):
        count += size
        for key, line in seen.items():
            lines[key].add(line)
            tasks.add(line.task)
    if not count:
        raise DataError("there is no row to audit on, so nothing can be said; name rows with --records FILE.")
    return Report(count, [line for line in lines.values() if line.task in tasks])


def _audit_chunk(
    reward: Weighted, functions: Mapping[str, Sequence[Any]], system: str | None, rows: Sequence[Row]
) -> tuple[int, dict[tuple[str, str], Line]]:
    lines: dict[tuple[str, str], Line] = {}
    for source, record in rows:
        sample = Sample.from_record({**record, "source": source}, prompt=prompt_of(record, system))
        task = record["task"]
        by_name: dict[str, list[Outcome]] = {}
        for outcome in judge(reward, sample, functions[task]):
            by_name.setdefault(outcome.name, []).append(outcome)
        for name, outcomes in by_name.items():
            lines.setdefault((task, name), Line(name, task, outcomes[0].cheat)).see(outcomes)
    return len(rows), lines


def _over_processes(work: Any, rows: Iterable[Row], workers: int | None) -> Iterator[Any]:
    """The work on chunks of rows, in order, over several processes where that pays; few chunks at once."""
    stream = iter(rows)
    first = list(islice(stream, POOL_ROWS))
    if workers is None:
        workers = cores() if len(first) == POOL_ROWS else 1
    chunks = _chunks(chain(first, stream))
    if workers == 1 or not _can_be_sent(work):
        yield from map(work, chunks)
        return
    pending: deque[Future[Any]] = deque()
    with ProcessPoolExecutor(workers) as pool:
        try:
            for chunk in chunks:
                pending.append(pool.submit(work, chunk))
                if len(pending) >= 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise RlkitError(
                "a worker process died, most likely for want of memory; try again with --workers 1 or fewer rows."
            ) from error
        finally:
            for future in pending:
                future.cancel()


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, ROWS_PER_CHUNK)):
        yield chunk


def _can_be_sent(work: Any) -> bool:
    """Whether the reward and the exploits can go to other processes; a lambda in a reward cannot."""
    try:
        pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True
