"""From events to processes and jobs. Pure: no I/O, no reading of clocks; time is an argument."""
