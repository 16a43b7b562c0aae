"""The views of sql/lake/ as a script for an engine, over a lake at some place."""

from __future__ import annotations

from pathlib import Path

from elsa.report.lake import datasets
from elsa.report.lake.datasets import Dataset
from elsa.store import sql_files

DUCKDB, SPARK = ENGINES = ("duckdb", "spark")
_SPARK_TYPES = {int: "bigint", float: "double", str: "string"}


def statements(engine: str, place: str) -> list[str]:
    """The statements that create the views of an engine, over a folder or URI."""
    root = place.rstrip("/") if "://" in place else str(Path(place).resolve())
    source = {DUCKDB: _duckdb, SPARK: _spark}[engine]
    create = {DUCKDB: "create or replace view", SPARK: "create or replace temporary view"}[engine]
    return [
        *(source(root.replace("'", "''"), dataset) for dataset in datasets.OF_HOST),
        *(
            f"{create} {path.stem} as\n{path.read_text(encoding='utf-8').rstrip()}"
            for path in sql_files.views("lake")
        ),
    ]


def _duckdb(root: str, dataset: Dataset) -> str:
    folders = "*/*" if dataset.by_day else "*"
    types = "{'day': date, 'host': varchar}" if dataset.by_day else "{'host': varchar}"
    return (
        f"create or replace view {dataset.name} as\nselect * from read_parquet(\n"
        f"    '{root}/{dataset.name}/{folders}/*.parquet',\n"
        f"    hive_partitioning = true, hive_types = {types}, union_by_name = true\n)"
    )


def _spark(root: str, dataset: Dataset) -> str:
    columns = [f"{name} {_SPARK_TYPES[datasets.type_of(name)]}" for name in dataset.columns]
    columns += ["day date", "host string"] if dataset.by_day else ["host string"]
    return (
        f"create or replace temporary view {dataset.name} (\n    "
        + ",\n    ".join(columns)
        + f"\n) using parquet options (path '{root}/{dataset.name}')"
    )
