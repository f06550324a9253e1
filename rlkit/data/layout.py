"""What a data set's own file tells the loader: its columns, how a row becomes records, what was left out.

Knows no data set and no file format. A new data set is one module that declares a `Layout`, plus its line in
`load.LAYOUTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rlkit.data.record import Record

MAX_EXAMPLES = 5

Row = Mapping[str, Any]


@dataclass
class Count:
    """How often something happened, and the ids of the first few rows in which it did."""

    rows: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class Report:
    """What became of a source's questions: `read` = `kept` + everything in `dropped`.

    `noted` counts oddities in rows that were kept. `limited`: reading stopped when `limit` rows were kept.

    >>> report = Report()
    >>> report.drop("unanswerable", "q7")
    >>> report.read, report.kept, report.dropped["unanswerable"].examples
    (1, 0, ['q7'])
    >>> print(report)
    read 1, kept 0
      dropped 1: unanswerable (q7)
    """

    read: int = 0
    kept: int = 0
    dropped: dict[str, Count] = field(default_factory=dict)
    noted: dict[str, Count] = field(default_factory=dict)
    limited: bool = False

    def drop(self, reason: str, row_id: str) -> None:
        """Count a question that cannot be used."""
        self.read += 1
        _count(self.dropped, reason, row_id)

    def note(self, oddity: str, row_id: str) -> None:
        """Count an oddity in a row that stays."""
        _count(self.noted, oddity, row_id)

    def take_out(self, reason: str, rows: int, examples: list[str]) -> None:
        """Count rows as dropped that were kept before."""
        if rows:
            self.kept -= rows
            self.dropped[reason] = Count(rows, examples)

    def keep(self) -> None:
        self.read += 1
        self.kept += 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Report:
        counts = {name: {key: Count(**count) for key, count in stored[name].items()} for name in ("dropped", "noted")}
        return cls(stored["read"], stored["kept"], **counts, limited=stored["limited"])

    def __str__(self) -> str:
        lines = [f"read {self.read:,}, kept {self.kept:,}" + (", stopped at the limit" if self.limited else "")]
        for verb, counts in (("dropped", self.dropped), ("noted", self.noted)):
            for reason, count in counts.items():
                more = ", ..." if count.rows > len(count.examples) else ""
                lines.append(f"  {verb} {count.rows:,}: {reason} ({', '.join(count.examples)}{more})")
        return "\n".join(lines)


def _count(counts: dict[str, Count], reason: str, row_id: str) -> None:
    count = counts.setdefault(reason, Count())
    count.rows += 1
    if len(count.examples) < MAX_EXAMPLES:
        count.examples.append(row_id)


class Head(NamedTuple):
    """How a JSON object begins: its first key, whether the value is an object, the first key in there."""

    key: str
    nested: bool
    inner_key: str | None


Records = Callable[[Row, Report, str], Iterable[Record]]


@dataclass(frozen=True)
class Layout:
    """One data set's layout.

    `columns`: the columns a row must have, one tuple for each published form (original release, hub release).
    `records(row, report, where)`: the records in one row; what it leaves out it counts in the report.
    `claims(head)` and `rows(path)`: set where the original release is one JSON object instead of rows;
    `claims` knows it by its beginning, `rows` streams `(where, row)` out of it.
    `files` and `with_files`: set where a release has its rows in several files. `files` are the keys under which
    a source names the further ones; `with_files(paths)` gives what then takes the place of `records`.
    """

    name: str
    columns: tuple[tuple[str, ...], ...]
    records: Records
    claims: Callable[[Head], bool] | None = None
    rows: Callable[[Path], Iterator[tuple[str, Row]]] | None = None
    files: tuple[str, ...] = ()
    with_files: Callable[[Mapping[str, Path]], Records] | None = None

    def fits(self, columns: Iterable[str]) -> bool:
        """Whether rows with these columns are in one of the layout's forms."""
        there = set(columns)
        return any(there.issuperset(form) for form in self.columns)


def distinct(values: Iterable[Any]) -> list[str]:
    """The values as trimmed text, without blanks, nulls and repetitions, in order.

    >>> distinct([" Lisbon", "Lisbon", None, "", 7])
    ['Lisbon', '7']
    """
    texts = (str(value).strip() for value in values if value is not None)
    return list(dict.fromkeys(text for text in texts if text))


def entries(value: Any, *names: str) -> list[tuple[Any, ...]]:
    """The named fields of each item of a nested column, in any of the forms in which releases store it.

    >>> entries({"title": ["A", "B"], "sent_id": [0, 2]}, "title", "sent_id")
    [('A', 0), ('B', 2)]
    >>> entries([{"title": "A", "sent_id": 0}], "title", "sent_id")
    [('A', 0)]
    >>> entries([["A", 0]], "title", "sent_id")
    [('A', 0)]
    """
    if value is None:
        return []
    if isinstance(value, Mapping):
        return list(zip(*(value[name] for name in names), strict=True))
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"a list of items with {', '.join(names)} is expected where {value!r:.60} stands")
    items = []
    for item in value:
        fields = tuple(item[name] for name in names) if isinstance(item, Mapping) else tuple(item)
        if len(fields) != len(names):
            raise ValueError(f"an item with {', '.join(names)} is expected where {item!r:.60} stands")
        items.append(fields)
    return items
