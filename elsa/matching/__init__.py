"""Which accounting record and which taskstats message belong to which process."""
