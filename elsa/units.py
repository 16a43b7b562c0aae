"""Units of time in nanoseconds, in which all times are computed and stored."""

MS_NS = 1_000_000
SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
