"""`elsa alert`: what went wrong since the last time, handed to a command of the administrator."""
