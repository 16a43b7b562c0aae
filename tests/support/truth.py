"""What holds of the processes of native/storm.c: each bears a name of its own, so who is who is
known without what joining goes by.
"""

from __future__ import annotations

from tests.support.elsa_host import Host

# Whether a name is that of a process of the storm: worker, kind, number.
OF_THE_STORM = "glob '[0-9][-.+]*'"


def assert_no_record_is_joined_to_another_life(host: Host) -> None:
    """A record and its life bear the same name, unless the life has its parent's still: its own may
    be lost in a gap.
    """
    wrong = f"""select p.id, p.pid, name.name, command.name, a.join_outcome
        from acct as a join process as p on p.id = a.process_id
        join comm as name on name.id = p.comm_id
        join comm as command on command.id = a.comm_id
        where (name.name {OF_THE_STORM} or command.name {OF_THE_STORM})
        and name.name <> command.name
        and not (name.name in ('worker', 'storm') and command.name {OF_THE_STORM})
        and name.name <> replace(replace(command.name, '+', '.'), '-', '.')"""
    assert host.sql(wrong) == []
