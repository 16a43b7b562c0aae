"""Writing: rows as tables, csv, json, plots and pictures."""
