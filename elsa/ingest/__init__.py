"""The ingester: accounting files into the warehouse, each record exactly once."""
