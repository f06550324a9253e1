"""The Memory-T1 output format: find the one JSON object `{"selected_memory": [...], "answer": ...}` in a completion.

Knows how the object may be wrapped (bare, fenced, prose around it) and what makes it unreadable; refuses to know
which sessions exist and which answer is right.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import Any, ClassVar

from rewards.sample import Sample

MAX_DEPTH_LEVELS = 32  # an honest output has two; more is an attack on the recursive JSON decoder
MAX_OBJECTS = 1000  # an honest output has one, or a draft and one

_OBJECT = re.compile(r'\{\s*"')
_STRUCTURE = re.compile(r'"[^"]*"?|[\[\]{}]')
_STEPS = {"{": 1, "[": 1, "}": -1, "]": -1}
_KEYS = ("selected_memory", "answer")


@dataclass(frozen=True)
class MemoryOutput:
    """What a completion selects and answers, or the reason in words why it cannot be read.

    `selected` holds distinct session ids in the order given; `answer` is text or a tuple of texts (JSON numbers as
    written). Both are empty when `problem` is set.
    """

    selected: tuple[str, ...] = ()
    answer: str | tuple[str, ...] = ""
    problem: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the completion holds one readable object."""
        return self.problem is None

    @property
    def answer_text(self) -> str:
        """The answer as one line: the items of a list are joined by commas."""
        return self.answer if isinstance(self.answer, str) else ", ".join(self.answer)


@dataclass(frozen=True)
class memory_format:
    """0.0 when the completion holds one readable object, else -0.5 (Memory-T1, "Reward"); applies to every row.

    >>> memory_format()(Sample(completion='{"selected_memory": ["session_3"], "answer": "B"}'))
    0.0
    >>> memory_format()(Sample(completion="The answer is B."))
    -0.5
    """

    bounds: ClassVar[tuple[float, float]] = (-0.5, 0.0)

    def __call__(self, sample: Sample) -> float:
        return 0.0 if sample.memory.ok else -0.5


def session_key(name: str) -> str:
    """A session id without the angle brackets and white space that prompts and models put around it.

    >>> session_key(" <session_3> ")
    'session_3'
    """
    name = name.strip()
    return name[1:-1].strip() if name.startswith("<") and name.endswith(">") and len(name) > 1 else name


def parse_memory(text: str) -> MemoryOutput:
    """Read a completion in time linear in its length; never raises, whatever the text.

    Rejected with a stated reason: no object, cut-off or broken JSON, a missing or repeated key, null or empty fields,
    a selection that is not a list of ids, nesting deeper than 32 levels, and two objects that say different things (a
    repeated object that says the same is one). What stands before a closing `</think>` is a draft and does not count.

    >>> parse_memory('Here it is: {"selected_memory": ["<s1>", "s2", "s1"], "answer": ["B", "C"]} Bye.')
    MemoryOutput(selected=('s1', 's2'), answer=('B', 'C'), problem=None)
    >>> parse_memory('{"selected_memory": ["s1"]}').problem
    'the JSON object has no key "answer"'
    """
    position = max(text.rfind("</think>"), 0)
    outputs: dict[Any, MemoryOutput] = {}
    objects = 0
    problem = "there is no JSON object"
    unnumbered = _Unnumbered(text)
    while match := _OBJECT.search(text, position):
        start, objects = match.start(), objects + 1
        if objects > MAX_OBJECTS:
            return MemoryOutput(problem=f"there are more than {MAX_OBJECTS} JSON objects")
        value = None
        try:
            value, position = _DECODER.raw_decode(unnumbered, start)
        except RecursionError:
            return _TOO_DEEP
        except json.JSONDecodeError as error:
            # All text before the error is the valid beginning of a broken object: skipping it keeps the time linear.
            position = max(error.pos, start + 1)
            problem = "the JSON object is broken or cut off"
        # Judged by the text as well: the verdict must not depend on how deep in the stack the caller stands.
        if _is_deep(text, start, position):
            return _TOO_DEEP
        if value is None:
            continue
        missing = [json.dumps(key) for key in _KEYS if key not in value]
        if missing:
            problem = f"the JSON object has no key {' and no key '.join(missing)}"
            continue
        output = _read(value)
        outputs[frozenset(output.selected), output.answer, output.problem] = output
    if len(outputs) > 1:
        return MemoryOutput(problem=f"there are {len(outputs)} JSON objects that say different things")
    return next(iter(outputs.values()), MemoryOutput(problem=problem))


_TOO_DEEP = MemoryOutput(problem=f"the JSON is nested deeper than {MAX_DEPTH_LEVELS} levels")


class _Unnumbered(str):
    """Text without line numbers: the decoder asks for one at every error, by reading all text before it."""

    def count(self, *args: Any) -> int:
        return 0

    def rfind(self, *args: Any) -> int:
        return -1


class _RepeatedKeys(dict[str, Any]):
    """An object that gives a key twice, so that it is unclear which value it means."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    return value if len(value) == len(pairs) else _RepeatedKeys(value)


# Numbers stay as written: no limit of 4,300 digits, no rounding, no infinity.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=str, parse_float=str)


def _is_deep(text: str, start: int, end: int) -> bool:
    if text.count("{", start, end) + text.count("[", start, end) <= MAX_DEPTH_LEVELS:
        return False
    plain = text[start:end].replace("\\\\", "").replace('\\"', "")  # so that a string ends at the next quote
    return max(accumulate(map(_STEPS.get, _STRUCTURE.findall(plain), repeat(0)))) > MAX_DEPTH_LEVELS


def _read(value: dict[str, Any]) -> MemoryOutput:
    selected, answer = value["selected_memory"], value["answer"]
    if isinstance(value, _RepeatedKeys):
        return MemoryOutput(problem="the JSON object has a key twice")
    if not isinstance(selected, list):
        return MemoryOutput(problem=f'"selected_memory" is {_kind(selected)}, but must be a list of session ids')
    for item in selected:
        if not isinstance(item, str):
            return MemoryOutput(problem=f'"selected_memory" holds {_kind(item)}, but only session ids are allowed')
    items = answer if isinstance(answer, list) else [answer]
    for item in items:
        if not isinstance(item, str):
            return MemoryOutput(
                problem=f'"answer" is or holds {_kind(item)}, but must be text, a number or a list of them'
            )
    if not any(item.strip() for item in items):
        return MemoryOutput(problem='"answer" is empty')
    return MemoryOutput(
        selected=tuple(dict.fromkeys(map(session_key, selected))),
        answer=tuple(items) if isinstance(answer, list) else answer,
    )


def _kind(value: Any) -> str:
    names = {list: "a list", bool: "a truth value", str: "text", float: "NaN or Infinity", type(None): "null"}
    return names.get(type(value), "an object")
