"""The house rules that no linter knows: what exists is documented."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from elsa.config import Config

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("field", dataclasses.fields(Config), ids=lambda field: field.name)
def test_every_setting_is_documented_with_its_default(field: dataclasses.Field[object]) -> None:
    text = (ROOT / "docs/config.md").read_text()
    section = re.search(rf"^## `{field.name}`\n\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section
    assert f"Default: `{field.default}`" in section[1]
    assert f"`ELSA_{field.name.upper()}`" in section[1]


def test_no_setting_is_documented_that_does_not_exist() -> None:
    documented = re.findall(r"^## `(\w+)`$", (ROOT / "docs/config.md").read_text(), re.MULTILINE)
    assert documented == [field.name for field in dataclasses.fields(Config)]
