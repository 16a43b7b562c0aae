"""The ingester: reads accounting files into the warehouse, each record exactly once."""
