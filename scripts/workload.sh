#!/bin/sh
# The job of the demonstration: what build and cron jobs do that an accounting of a process and its
# children alone would miss.
set -eu
true=$(command -v /bin/true || command -v /usr/bin/true)

# Many processes that live for a millisecond.
count=0
while [ "$count" -lt 200 ]; do
    "$true"
    count=$((count + 1))
done

# A pipeline.
seq 1 300000 | sort -rn | md5sum >/dev/null

# A daemon: forked twice, in a session of its own, alive for a little after this script ended.
(setsid sh -c 'sleep 1; seq 1 400000 | sha256sum' >/dev/null 2>&1 </dev/null &)

# A grandchild whose parent is already dead when it starts to work.
sh -c '(sleep 0.3; head -c 20000000 /dev/zero | gzip -1 | wc -c) >/dev/null 2>&1 </dev/null &'

# Something that takes a moment of CPU time itself.
head -c 30000000 /dev/zero | gzip -1 >/dev/null
