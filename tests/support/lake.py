"""Engines that run the views of sql/lake/: DuckDB in this process, Spark in one of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from elsa.report.lake import views

Rows = list[dict[str, Any]]
_BUILD = Path(__file__).resolve().parents[2] / "build" / "spark"


def in_duckdb(place: str, queries: list[str]) -> list[Rows]:
    """The rows of queries on a lake."""
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    with duckdb.connect() as connection:
        for statement in views.statements("duckdb", place):
            connection.execute(statement)
        return [_named(connection.execute(query)) for query in queries]


def _named(cursor: Any) -> Rows:
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def in_spark(place: str, queries: list[str]) -> list[Rows]:
    """The same in Spark, without dates; the test skips with the reason where it is not there."""
    folder = Path(os.environ.get("ELSA_SPARK") or _BUILD)
    if not (folder / "python" / "pyspark").is_dir():
        pytest.skip("pyspark is not there: `make test` fetches it, or name a folder in ELSA_SPARK")
    home = next(iter(folder.glob("usr/lib/jvm/java-17-openjdk-*")), None)
    if home is None and shutil.which("java") is None:
        pytest.skip("java is not there: `make test` fetches it, or install Java 17")
    environ = os.environ | {"PYTHONPATH": str(folder / "python"), "SPARK_LOCAL_IP": "127.0.0.1"}
    if home is not None:
        environ["JAVA_HOME"] = str(home)
    asked = json.dumps({"statements": views.statements("spark", place), "queries": queries})
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("spark_session.py"))],
        input=asked,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answer: list[Rows] = json.loads(done.stdout, object_hook=_exact)
    return answer


def _exact(row: dict[str, Any]) -> Any:
    return Decimal(row["decimal"]) if row.keys() == {"decimal"} else row
