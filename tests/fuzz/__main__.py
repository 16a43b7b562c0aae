"""`make fuzz [INPUTS=n] [SEED=n] [TARGET=name]`: so many inputs in all (a million), shared out by
the table in targets.py.

Prints, per target, inputs, how many of them were refused in the stated way, how many kinds of
answers there were, and faults: each with the input that shows it, in a file and as Python writes
it. Exit code 1 if there is a fault. `python -m tests.fuzz TARGET FILE` tries one input.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.fuzz.engine import Outcome, Target, attempt, fuzz, watched
from tests.fuzz.targets import ROOT, TARGETS

FOUND = ROOT / "build/fuzz"


def main(words: list[str]) -> int:
    """Fuzz, or try one input."""
    if len(words) == 2 and not words[0].isdecimal():
        return retry(words[0], Path(words[1]))
    inputs, seed, name = int(words[0]), int(words[1]), (words[2] if len(words) > 2 else "")
    targets = [target for target in TARGETS if name in ("", target.name)]
    if not targets:
        print(
            f"no target {name!r}; they are: {', '.join(target.name for target in TARGETS)}",
            file=sys.stderr,
        )
        return 2
    shares = sum(target.share for target in targets)
    total = faults = 0
    print(
        "seed"
        f" {seed}\n{'target':<16}{'inputs':>9}{'refused':>9}{'kinds':>7}{'seconds':>9}{'faults':>8}"
    )
    for target in targets:
        began = time.thread_time()
        outcome = fuzz(target, max(1, inputs * target.share // shares), seed)
        spent = time.thread_time() - began
        print(
            f"{target.name:<16}{outcome.inputs:>9}{outcome.refused:>9}{outcome.kinds:>7}"
            f"{spent:>9.1f}{len(outcome.faults):>8}",
            flush=True,
        )
        tell(target, outcome)
        total, faults = total + outcome.inputs, faults + len(outcome.faults)
    print(f"{total} inputs, {faults} faults")
    return 1 if faults else 0


def tell(target: Target, outcome: Outcome) -> None:
    """Each fault, and the input that shows it."""
    for number, (what, (count, data)) in enumerate(outcome.faults.items(), 1):
        path = FOUND / f"{target.name.replace(' ', '-')}-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        shown = repr(data) if len(data) <= 200 else f"{data[:200]!r}... of {len(data)} bytes"
        print(
            f"  {what}\n    {count} times, as with {shown}\n    again: python -m tests.fuzz"
            f" '{target.name}' {path}"
        )


def retry(name: str, path: Path) -> int:
    """One input again, with the whole traceback if it is a fault."""
    target = next(target for target in TARGETS if target.name == name)
    outcome = Outcome(inputs=1)
    data = path.read_bytes()
    with watched(outcome):
        attempt(target, data, outcome)
    if not outcome.faults:
        print("no fault")
        return 0
    print(next(iter(outcome.faults)))
    target.call(data)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
