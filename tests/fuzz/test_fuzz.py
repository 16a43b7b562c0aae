"""A few inputs at every target, and that the fuzzer finds what it looks for; `make fuzz` throws a
million.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from elsa.errors import DataError
from tests.fuzz import __main__ as command
from tests.fuzz import engine
from tests.fuzz.engine import Target, fuzz
from tests.fuzz.targets import TARGETS

# In all, shared out as in a long run; and each gets its samples as they are.
INPUTS = 12_000
SHARES = sum(target.share for target in TARGETS)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name.replace(" ", "-"))
def test_nothing_is_raised_but_what_is_stated(target: Target) -> None:
    found = fuzz(target, max(len(target.samples()), INPUTS * target.share // SHARES), seed=1)
    assert found.faults == {}


def _planted(data: bytes) -> int:
    if data.startswith(b"ab"):
        raise DataError("stated")
    if b"7" in data:
        raise KeyError("planted")
    assert b"9" not in data
    return len(data)


PLANTED = Target("planted", _planted, (DataError,), lambda: (b"12345", b"abc"))


def test_every_fault_is_found_once_with_a_short_input_that_shows_it() -> None:
    found = fuzz(PLANTED, 3000, seed=4)
    assert sorted(what.partition(" in ")[0] for what in found.faults) == [
        "AssertionError",
        "KeyError",
    ]
    for what, (count, data) in found.faults.items():
        assert count > 1
        with pytest.raises(KeyError if what.startswith("KeyError") else AssertionError):
            _planted(data)
    assert 0 < found.refused < found.inputs == 3000


def test_run_is_the_same_again_from_the_same_seed() -> None:
    assert fuzz(PLANTED, 500, seed=4) == fuzz(PLANTED, 500, seed=4) != fuzz(PLANTED, 500, seed=5)


def test_input_that_takes_long_is_a_fault_and_the_next_one_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def call(data: bytes) -> int:
        while data == b"abc":
            pass
        return 0

    monkeypatch.setattr(engine, "TICK_S", 0.05)
    found = fuzz(PLANTED._replace(call=call), 10, seed=1)
    assert [what.partition(" in ")[0] for what in found.faults] == ["TooSlowError"]
    assert found.inputs == 10


def test_command_tells_of_faults_keeps_the_input_and_tries_it_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "TARGETS", (PLANTED,))
    monkeypatch.setattr(command, "FOUND", tmp_path)
    assert command.main(["2000", "4"]) == 1
    told = capsys.readouterr().out
    assert "2000 inputs, 2 faults" in told
    assert f"python -m tests.fuzz 'planted' {tmp_path}/planted-1" in told
    with pytest.raises((KeyError, AssertionError)):
        command.main(["planted", str(tmp_path / "planted-1")])
    (tmp_path / "harmless").write_bytes(b"12")
    assert command.main(["planted", str(tmp_path / "harmless")]) == 0
