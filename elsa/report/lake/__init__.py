"""The history of many hosts in Parquet: what `elsa db export --partition` writes, and views over it
for DuckDB and Spark (sql/lake/).
"""
