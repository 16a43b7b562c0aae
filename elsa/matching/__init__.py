"""Which accounting record and which taskstats message belongs to which process."""
