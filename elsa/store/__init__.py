"""The SQLite warehouse: schema, migrations, batched writes, rollups, retention."""
