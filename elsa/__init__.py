"""Enhanced Linux System Accounting: what did this job, with every process it ever started, cost?

Data climbs one stair, from the kernel to a person, and never goes back down. Each step knows only
the steps before it::

    kernel    sockets and files to bytes      connector, taskstats, accounting file, /proc, clocks
    decode    bytes to records (pure)         events, taskstats, acct records, /proc, command lines
    state     events to processes, jobs       incarnations, memberships (pure)
    store     the SQLite warehouse            schema, migrations, batched writes, sums
    matching  which record is which process   pairing, parentage, order of records
    sql/      views: per-job accounting       anyone may query them with sqlite3
    report    rows to tables, csv, json       query/ chooses, render/ writes
    gnu       sa, lastcomm, dump-acct         byte for byte
    control   the control socket of jobd      protocol, server, client
    jobd, ingest, run                         the three programs that see both ends
    cli       the commands                    elsa, elsa-job, elsa-report, elsa-ingest, elsa-jobd

To add a view start in sql/, to add a report in elsa/report/, to add a kernel record in
elsa/decode/. docs/architecture.md tells the rest.
"""

__version__ = "0.1.0"
