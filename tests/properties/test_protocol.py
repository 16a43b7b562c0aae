"""Whatever comes over the control socket, the protocol understands it or says what is wrong with
it.
"""

from __future__ import annotations

import dataclasses
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.control import operations, protocol
from elsa.errors import ElsaError, UnavailableError, UsageError
from elsa.state.job_names import MAX_NAME

printable = st.text(
    alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=64
)
names = printable.filter(lambda name: not name.isdigit())
jobs = st.one_of(names, st.integers(1, operations.MAX_ID))
pids = st.lists(st.integers(1, protocol.MAX_PID), max_size=20, unique=True).map(tuple)
requests = st.one_of(
    st.builds(
        lambda launched, more, **rest: operations.Create(
            launched=launched, pids=(launched, *(pid for pid in more if pid != launched)), **rest
        ),
        launched=st.integers(1, protocol.MAX_PID),
        more=pids,
        name=names,
        tags=st.dictionaries(printable, st.one_of(st.just(""), printable), max_size=8),
        closes_itself=st.booleans(),
    ),
    st.builds(
        operations.Define,
        name=names,
        root=st.integers(1, protocol.MAX_PID),
        session=st.integers(1, protocol.MAX_PID),
        at_ns=st.integers(0, operations.MAX_ID),
        commands=st.lists(printable, max_size=4).map(tuple),
        where=printable,
        since_ns=st.integers(0, operations.MAX_ID),
        until_ns=st.integers(0, operations.MAX_ID),
        dry_run=st.booleans(),
    ),
    st.builds(operations.Reserve, name=names, owner_uid=st.integers(0, operations.MAX_UID)),
    st.builds(operations.Add, job=jobs, pids=pids, tree=st.booleans()),
    st.builds(operations.Remove, job=jobs, pids=pids),
    st.builds(operations.Close, job=jobs),
    st.builds(operations.List, all=st.booleans()),
    st.builds(operations.Show, job=jobs, limit=st.integers(0, protocol.MAX_MEMBERS)),
    st.builds(operations.Of, pid=st.integers(1, protocol.MAX_PID)),
    st.just(operations.Status()),
    st.just(operations.Sync()),
)
anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=8,
)


def understood_or_refused(line: bytes) -> None:
    try:
        request = operations.parse_request(line)
    except UsageError as error:
        assert len(str(error).splitlines()) == 1
        assert len(str(error)) < 400
    else:
        assert type(request) in operations.REQUESTS.values()


def line_of(request: operations.Request) -> bytes:
    op = next(op for op, kind in operations.REQUESTS.items() if kind is type(request))
    return protocol.encode_request(op, dataclasses.asdict(request))


@given(st.binary(max_size=500))
def test_arbitrary_bytes_are_refused_with_a_usage_error(line: bytes) -> None:
    understood_or_refused(line)


@given(st.text(alphabet=string.digits + '[]{},:"-.eE truefalsnN\\u', max_size=200))
def test_almost_json_is_refused_with_a_usage_error(line: str) -> None:
    understood_or_refused(line.encode())


@given(
    st.sampled_from(list(operations.REQUESTS)),
    st.dictionaries(st.sampled_from([*operations.FIELDS, "op", "elsa", "x"]), anything),
)
def test_fields_of_any_type_are_taken_or_refused_with_a_usage_error(
    op: str, fields: dict[str, object]
) -> None:
    understood_or_refused(json.dumps({"elsa": 1, "op": op, **fields}).encode())


@given(requests)
def test_a_valid_request_arrives_as_it_was_sent(request: operations.Request) -> None:
    assert operations.parse_request(line_of(request).rstrip(b"\n")) == request


@given(
    st.dictionaries(st.text().filter(lambda key: key not in ("elsa", "ok")), anything, max_size=4)
)
def test_a_reply_arrives_as_it_was_sent_whatever_its_texts_hold(reply: dict[str, object]) -> None:
    line = protocol.encode_reply(reply)
    assert line.count(b"\n") == 1
    assert protocol.parse_reply(line) == reply


@given(requests, st.data())
def test_a_damaged_request_never_raises_anything_else(
    request: operations.Request, data: st.DataObject
) -> None:
    line = bytearray(line_of(request))
    line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    understood_or_refused(bytes(line))


@given(st.binary(max_size=300))
def test_a_reply_of_arbitrary_bytes_raises_only_errors_of_the_family(line: bytes) -> None:
    with pytest.raises(ElsaError):
        protocol.parse_reply(line)


@given(st.text())
def test_what_an_answer_says_cannot_move_the_cursor_whoever_answers(message: str) -> None:
    line = json.dumps(
        {"elsa": 1, "ok": False, "error": {"kind": "usage", "message": message}}
    ).encode()
    with pytest.raises(UsageError) as raised:
        protocol.parse_reply(line)
    assert str(raised.value).isprintable()


@given(st.sampled_from(list(protocol.ERROR_KINDS.values())), st.text())
def test_an_error_is_raised_by_the_client_as_the_server_raised_it(
    kind: type[ElsaError], message: str
) -> None:
    line = protocol.encode_reply(kind(message))
    assert line.count(b"\n") == 1
    with pytest.raises(kind) as raised:
        protocol.parse_reply(line)
    assert type(raised.value) is kind
    assert len(str(raised.value).splitlines()) <= 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"[" * 60_000, "nested too deeply"),
        (b'{"a":' * 10_000, "nested too deeply"),
        (b'{"elsa":1,"op":"of","pid":' + b"9" * 10_000 + b"}", "not a line of JSON"),
        (b'{"elsa":1,"op":"of","pid":' + b"9" * 4000 + b"}", "pid: needs a whole number"),
        (b'{"elsa":1,"op":"of","pid":NaN}', "NaN is not JSON"),
        (b'{"elsa":1,"op":"of","pid":1e999}', "pid: needs a whole number"),
        (b'{"elsa":1,"op":"of","pid":true}', "pid: needs a whole number"),
        (b'{"elsa":1,"op":"of","pid":1,"pid":2}', "a key comes twice"),
        (b'{"elsa":1,"op":"of","pid":1,"uid":0}', "unknown field 'uid'"),
        (b'{"elsa":1,"op":"of"}', "pid is missing"),
        (b'{"elsa":true,"op":"status"}', "speaks protocol 1"),
        (b'{"elsa":2,"op":"status"}', "speaks protocol 1"),
        (b'{"elsa":1,"op":["status"]}', "unknown op"),
        (b'{"elsa":1,"op":"create","name":"17"}', "may not be a number"),
        (b'{"elsa":1,"op":"create","name":" a"}', "begin or end with a blank"),
        (b'{"elsa":1,"op":"create","name":"a\\u001b[2J"}', "printable"),
        (b'{"elsa":1,"op":"create","name":"\\ud800"}', "printable"),
        (b'{"elsa":1,"op":"create","name":"' + b"a" * 129 + b'"}', "1 to 128"),
        (b'{"elsa":1,"op":"create","name":"a","launched":7}', "not among the pids"),
        (b'{"elsa":1,"op":"create","name":"a","tags":{"":"x"}}', "1 to 64"),
        (
            json.dumps(
                {"elsa": 1, "op": "create", "name": "a", "tags": {str(n): "" for n in range(33)}}
            ).encode(),
            "at most 32 tags",
        ),
        (
            json.dumps(
                {
                    "elsa": 1,
                    "op": "create",
                    "name": "a",
                    "tags": {str(n): "x" * 256 for n in range(16)},
                }
            ).encode(),
            "4096 bytes together",
        ),
        (
            json.dumps({"elsa": 1, "op": "add", "job": 1, "pids": list(range(1, 4098))}).encode(),
            "at most 4096 pids",
        ),
        (b'{"elsa":1,"op":"close","job":0}', "job: needs a whole number"),
        (b"\xff\xfe", "not a line of JSON"),
        (b"", "not a line of JSON"),
        (b"7", "not an object"),
    ],
)
def test_each_bound_is_said(line: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("[", r"\[")):
        operations.parse_request(line)


def test_a_reply_of_another_version_says_so() -> None:
    with pytest.raises(UnavailableError, match="another protocol"):
        protocol.parse_reply(b'{"elsa":2,"ok":true}')


def test_every_field_of_every_request_has_a_check_and_no_check_is_idle() -> None:
    assert {
        field.name for kind in operations.REQUESTS.values() for field in dataclasses.fields(kind)
    } == set(operations.FIELDS)


def test_the_largest_add_fits_into_a_request() -> None:
    pids = list(range(protocol.MAX_PID - operations.MAX_PIDS, protocol.MAX_PID))
    assert (
        len(protocol.encode_request("add", {"job": "x" * MAX_NAME, "pids": pids}))
        <= protocol.MAX_REQUEST
    )
