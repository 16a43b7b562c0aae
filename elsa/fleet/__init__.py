"""Many hosts in one PostgreSQL database: its tables, what hosts push, and what reports read."""
