"""`elsa run` and `elsa job run`: start a command and say what it cost."""
