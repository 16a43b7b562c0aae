"""Throws inputs at a target: mutations of its samples, and plain random bytes; all from one seed,
so a run can be repeated.

An input that is answered in a way not seen before (another line of code refused it, or another kind
of result came out) is kept and mutated further. A fault is an exception that the target does not
state, an answer that breaks what the target promises (AssertionError), or an input that takes
seconds.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

LONGEST = 4096
"""Bytes of a mutated input; longer samples are taken as they are and cut when they are changed."""
MOST_KEPT = 2000
TICK_S = 2.0
"""CPU seconds; an input that still runs after a whole one of these is a fault."""
# Values at which widths, signs and tables end.
_EDGES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
_NUMBERS = (
    b"0",
    b"-1",
    b"1",
    b"255",
    b"65536",
    b"4194304",
    b"9223372036854775807",
    b"9223372036854775808",
    b"1" + b"0" * 40,
    b"1e999",
)
_TROUBLE = (
    b"\0",
    b"\n",
    b"\\",
    b"'",
    b'"',
    b"\xff",
    b"\xed\xb3\xbf",
    b"\xe2\x80\xae",
    b"\x1b[2J",
    b"%s",
    b"*" * 40,
    b"(" * 40,
)


class Target(NamedTuple):
    """Something that takes bytes from a stranger."""

    name: str
    call: Callable[[bytes], Hashable]
    """Takes an input; asserts what holds of the answer, and returns roughly what kind of answer it
    was.
    """
    stated: tuple[type[BaseException], ...]
    """What it may raise, and nothing else."""
    samples: Callable[[], Sequence[bytes]]
    words: tuple[bytes, ...] = ()
    """What inputs are made of."""
    share: int = 100
    """How many of the inputs of a run it gets, relative to the others: fewer where one takes long.
    """


class TooSlowError(Exception):
    """An input takes seconds."""


@dataclass
class Outcome:
    """What was found with one target."""

    inputs: int = 0
    refused: int = 0
    """Inputs that were answered with a stated exception."""
    kinds: int = 0
    """Different answers."""
    faults: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """By what was raised and where: how often, and the shortest input."""


class Mutator:
    """Makes inputs."""

    def __init__(
        self, chance: random.Random, samples: Sequence[bytes], words: Sequence[bytes]
    ) -> None:
        self._chance = chance
        self._words = (*words, *_NUMBERS, *_TROUBLE)
        self.kept = list(samples)
        self._changes: tuple[Callable[[bytearray], None], ...] = (
            *(
                self._flip,
                self._set,
                self._cut,
                self._repeat,
                self._insert,
                self._insert,
                self._edge,
                self._number,
                self._splice,
            ),
        )

    def keep(self, data: bytes) -> None:
        """Mutate this one too; of too many a random one goes."""
        if len(self.kept) < MOST_KEPT:
            self.kept.append(data)
        else:
            self.kept[self._chance.randrange(MOST_KEPT)] = data

    def make(self) -> bytes:
        """The next input."""
        chance = self._chance
        if not self.kept or chance.random() < 0.03:
            return chance.randbytes(chance.randrange(300))
        data = bytearray(chance.choice(self.kept))
        for _ in range(1 + int(chance.expovariate(0.7))):
            chance.choice(self._changes)(data)
        return bytes(data[:LONGEST])

    def _place(self, data: bytearray) -> int:
        return self._chance.randrange(len(data) + 1)

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)

    def _set(self, data: bytearray) -> None:
        if data:
            data[self._chance.randrange(len(data))] = self._chance.randrange(256)

    def _cut(self, data: bytearray) -> None:
        begin = self._place(data)
        del data[begin : begin + self._chance.choice((1, 2, 4, 16, 64, LONGEST))]

    def _repeat(self, data: bytearray) -> None:
        begin = self._place(data)
        piece = data[begin : begin + self._chance.choice((1, 4, 16, 64, 256))]
        data[begin:begin] = piece * self._chance.choice((1, 1, 1, 3, 30))

    def _insert(self, data: bytearray) -> None:
        place = self._place(data)
        data[place:place] = self._chance.choice(self._words)

    def _edge(self, data: bytearray) -> None:
        size = self._chance.choice((1, 2, 4, 8))
        place = self._place(data)
        value = self._chance.choice(_EDGES) & ((1 << 8 * size) - 1)
        data[place : place + size] = value.to_bytes(size, self._chance.choice(("little", "big")))

    def _number(self, data: bytearray) -> None:
        """Put another number in the place of a written one."""
        digits = [place for place, byte in enumerate(data[:LONGEST]) if 48 <= byte <= 57]
        if not digits:
            return
        begin = end = self._chance.choice(digits)
        while end < len(data) and 48 <= data[end] <= 57:
            end += 1
        data[begin:end] = self._chance.choice(_NUMBERS)

    def _splice(self, data: bytearray) -> None:
        other = self._chance.choice(self.kept)
        data[self._place(data) :] = other[self._chance.randrange(len(other) + 1) :]


def fuzz(target: Target, inputs: int, seed: int) -> Outcome:
    """Throw so many inputs at a target; what was found."""
    mutator = Mutator(random.Random(f"{seed} {target.name}"), target.samples(), target.words)
    outcome, seen = Outcome(), set[Hashable]()
    first = list(mutator.kept)
    with watched(outcome):
        for number in range(inputs):
            data = first[number] if number < len(first) else mutator.make()
            outcome.inputs += 1
            kind = attempt(target, data, outcome)
            if kind not in seen:
                seen.add(kind)
                mutator.keep(data)
    outcome.kinds = len(seen)
    return outcome


def attempt(target: Target, data: bytes, outcome: Outcome) -> Hashable:
    """One input: roughly what came of it. A fault is noted."""
    try:
        return target.call(data)
    except target.stated as error:
        outcome.refused += 1
        return type(error), *_lines(error)[-2:]
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        return _fault(
            f"{type(error).__name__} in {_place(error)}: {_short(str(error))}", data, outcome
        )


def _fault(what: str, data: bytes, outcome: Outcome) -> Hashable:
    key = what.partition(": ")[0]
    known = next((fault for fault in outcome.faults if fault.partition(": ")[0] == key), what)
    count, shortest = outcome.faults.get(known, (0, data))
    outcome.faults[known] = (count + 1, min(shortest, data, key=len))
    return key


def _lines(error: BaseException) -> list[int]:
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append(trace.tb_lineno)
        trace = trace.tb_next
    return found


def _place(error: BaseException) -> str:
    """The innermost line of ours."""
    found, trace = "?", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "/elsa/" in name or "/fuzz/targets" in name:
            found = f"{name.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _short(text: str) -> str:
    return ascii(text)[1:-1][:160]


@contextmanager
def watched(outcome: Outcome) -> Iterator[None]:
    """Ends an input that takes a whole tick of CPU time: nothing costs per input, so it may take up
    to two.
    """
    last = -1

    def look(_number: int, _frame: Any) -> None:
        nonlocal last
        if last == outcome.inputs:
            raise TooSlowError(f"more than {TICK_S:g} s of CPU time")
        last = outcome.inputs

    before = signal.signal(signal.SIGVTALRM, look)
    signal.setitimer(signal.ITIMER_VIRTUAL, TICK_S, TICK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
