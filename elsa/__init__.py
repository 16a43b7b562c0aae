"""Enhanced Linux System Accounting: what did this job, with every process it ever started, cost?

Data climbs one stair, from the kernel to a person, and never goes back down. Each step knows only
the steps before it::

    kernel    sockets and files to bytes         connector, taskstats, accounting file, /proc, clocks
    decode    bytes to records (pure)            process events, taskstats, acct records, /proc/PID/stat, command lines
    state     events to processes and jobs       incarnations, membership, pairing of the witnesses (pure)
    store     the SQLite warehouse               schema, migrations, batched writes, joining
    sql/      views: the per-job accounting      anyone may query them with sqlite3
    report    rows to tables, csv, json
    control   the AF_UNIX socket of jobd         protocol, server, client
    pipeline  the two loops that see both ends   the collector (jobd) and the ingester
    cli       the commands                       elsa, elsa-job, elsa-report, elsa-ingest, elsa-jobd

To add a view start in sql/, to add a report in elsa/report/, to add a kernel record in
elsa/decode/. docs/architecture.md tells the rest.
"""

__version__ = "0.1.0"
