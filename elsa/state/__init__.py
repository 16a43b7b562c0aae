"""Events to processes, jobs and pairs: pure, no I/O, no clock reads; time is an argument."""
