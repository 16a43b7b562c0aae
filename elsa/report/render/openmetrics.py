"""Metrics as text for Prometheus: OpenMetrics, which `/metrics` serves, or the older text format,
which the textfile collector of node_exporter reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

FORMATS = ("openmetrics", "text")
CONTENT_TYPES = {
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "text": "text/plain; version=0.0.4; charset=utf-8",
}
_TOTAL = "_total"
_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n"}

Labels = tuple[tuple[str, str], ...]
"""Names of labels and their values."""


class Family(NamedTuple):
    """A metric with its samples."""

    name: str
    """Without `_total`. It ends in the unit, if there is one."""
    kind: Literal["counter", "gauge", "info"]
    unit: str
    doc: str
    samples: Mapping[Labels, str]
    """The values as text, since a float cannot hold every sum of integers."""

    @property
    def sample_name(self) -> str:
        """The name of each sample."""
        return {"counter": f"{self.name}{_TOTAL}", "info": f"{self.name}_info"}.get(
            self.kind, self.name
        )

    def lines(self, form: str) -> Iterator[str]:
        """The metric in a format."""
        name, kind = self.name, self.kind
        if form == "text":
            # The older format knows no suffixes and no info.
            name, kind = self.sample_name, "gauge" if self.kind == "info" else self.kind
        yield f"# HELP {name} {_escaped(self.doc)}"
        yield f"# TYPE {name} {kind}"
        if self.unit and form == "openmetrics":
            yield f"# UNIT {name} {self.unit}"
        for labels, value in self.samples.items():
            yield f"{series(self.sample_name, labels)} {value}"


def series(name: str, labels: Labels) -> str:
    """The name of a sample with its labels."""
    listed = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
    return f"{name}{{{listed}}}" if listed else name


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)


def text(families: Iterable[Family], form: str) -> str:
    """All metrics in a format."""
    lines = [line for family in families if family.samples for line in family.lines(form)]
    return "\n".join([*lines, *(["# EOF"] if form == "openmetrics" else [])]) + "\n"


def never_below(families: Iterable[Family], before: str, same: Collection[str]) -> Iterator[Family]:
    """The metrics with no counter below what the text `before` has of it.

    Prometheus takes a counter that falls for one that began anew at 0, and would count all of it
    once more. Where a metric of `same` is another than before, counters may start anew.
    """
    listed = list(families)
    floors = _values(before)
    now = _values(text(listed, "text"))
    if _of(same, floors) != _of(same, now):
        yield from listed
        return
    for family in listed:
        if family.kind != "counter":
            yield family
            continue
        yield family._replace(
            samples={
                labels: max(value, floors.get(series(family.sample_name, labels), value), key=float)
                for labels, value in family.samples.items()
            }
        )


def _of(names: Collection[str], values: Mapping[str, str]) -> dict[str, str]:
    """The samples of some metrics."""
    return {name: value for name, value in values.items() if name.partition("{")[0] in names}


def _values(metrics: str) -> dict[str, str]:
    """The samples of a text, whatever it is: what is no sample of ours is left out."""
    values = {}
    for line in metrics.split("\n"):
        name, _, value = line.rpartition(" ")
        try:
            float(value)
        except ValueError:
            continue
        if name and not name.startswith("#"):
            values[name] = value
    return values
