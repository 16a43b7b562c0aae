"""Selection: which processes and times a report is about, as SQL."""
