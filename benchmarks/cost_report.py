"""What time(1), perf stat and `elsa run` say of one and the same build, which leaves a server
behind: the comparison in docs/run.md.

Run it as root with .venv/bin/python benchmarks/cost_report.py; it needs GNU time, perf, gcc and
make, and prints what each of them says.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

UNITS = 40
ELSA = Path(sys.executable).with_name("elsa")
# Forked twice, in a session of its own: hashes at once, writes, and hashes again when everybody
# else has gone.
SERVER = """head -c 200M /dev/zero | sha256sum > hash
head -c 24M /dev/urandom > written
sleep 12
head -c 200M /dev/zero | sha256sum > hash
"""
BUILD = """#!/bin/sh
make -s clean
(setsid sh ./server > /dev/null 2>&1 < /dev/null &)
make -s -j4 && ./program > /dev/null
"""
MAKEFILE = f"""OBJECTS = $(patsubst %,unit%.o,$(shell seq {UNITS}))
program: main.o $(OBJECTS)
\tgcc -o $@ $^
%.o: %.c
\tgcc -O2 -c -o $@ $<
clean:
\trm -f *.o program
"""
FUNCTION = """int u{unit}_f{number}(const char *s, double *d, int n) {{
    int i, sum = {number};
    for (i = 0; i < n; i++) {{
        d[i] += d[(i * {number}) % n] * s[i % 7];
        sum += printf("%s%d", s, i) + qsorted(d[i]);
    }}
    switch (sum % 5) {{
    case 0: return sum + strlen(s);
    case 1: return memcmp(s, d, n);
    case 2: return atoi(s);
    }}
    return sum;
}}
"""
HEAD = (
    "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nstatic int qsorted(double x) {"
    " return x > 0.5 ? (int)(x * 3) : 7; }\n"
)


def tree(folder: Path) -> None:
    """A build like many."""
    (folder / "server").write_text(SERVER)
    (folder / "build.sh").write_text(BUILD)
    (folder / "build.sh").chmod(0o755)
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "main.c").write_text("int main(void) { return 0; }\n")
    for unit in range(1, UNITS + 1):
        functions = "".join(FUNCTION.format(unit=unit, number=number) for number in range(1, 13))
        (folder / f"unit{unit}.c").write_text(HEAD + functions)


def main() -> None:
    """One run under each; what the server of the one before does must not be in the next."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree(folder)
        for words in (
            ["/usr/bin/time", "-v"],
            ["perf", "stat", "-e", "task-clock"],
            [str(ELSA), "run", "--"],
        ):
            print("$", *words, "./build.sh", flush=True)
            subprocess.run([*words, "./build.sh"], cwd=folder, check=True, stderr=sys.stdout)
            while (
                subprocess.run(
                    ["pgrep", "-f", "sh ./server"], capture_output=True, check=False
                ).returncode
                == 0
            ):
                subprocess.run(["sleep", "1"], check=True)


if __name__ == "__main__":
    main()
