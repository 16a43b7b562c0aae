"""The SQLite warehouse: schema, migrations, batched writes, joining of the witnesses."""
