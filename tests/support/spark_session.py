"""Run statements and queries, given as JSON, in a Spark session; write the rows as JSON. A program
of its own, since Spark is not in the environment of the tests.
"""

from __future__ import annotations

import json
import sys
from decimal import Decimal

from pyspark.sql import SparkSession

# Data is small, so compiling would take longer than running, and a task for each file too.
SETTINGS = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.log.level": "ERROR",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.files.minPartitionNum": "1",
    "spark.sql.files.openCostInBytes": "1",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def exact(value: object) -> object:
    """A decimal number for JSON."""
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    raise TypeError(type(value))


def main() -> None:
    """Read, run, write."""
    asked = json.load(sys.stdin)
    builder = SparkSession.builder.master("local[1]")
    for key, value in SETTINGS.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    for statement in asked["statements"]:
        session.sql(statement)
    answer = [[row.asDict() for row in session.sql(query).collect()] for query in asked["queries"]]
    json.dump(answer, sys.stdout, default=exact)
    session.stop()


if __name__ == "__main__":
    main()
