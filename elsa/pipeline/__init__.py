"""The loops that see both ends of the stair: the collector, the ingester, and the host check."""
