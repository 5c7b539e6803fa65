"""The checker itself: what it accepts, and that it finds each kind of fault, in histories that are made up."""

import pytest

from checker import (ACKNOWLEDGED, DETAIL, LIST, MS, REFUSED, SILENT, UNKNOWN, Read, Stall, Violation, Write, check, outcome_of)


def write(version, begin, end, outcome=ACKNOWLEDGED, ticker="A"):
    return Write(ticker, version, begin * MS, end * MS, outcome)


def read(version, begin, end, host=0, connection=1, ticker="A", status=200, route=DETAIL):
    return Read(host, connection, route, int(begin * MS), int(end * MS), status, (ticker,), (version,), True)


def rules(writes, reads):
    return [violation.rule for violation in check(writes, reads)]


# Version 1 from the beginning; 2 is acknowledged at 20 ms, 3 at 40 ms.
WRITES = [write(1, 0, 1), write(2, 10, 20), write(3, 30, 40)]

GOOD = {
    "nothing": ([], []),
    "what is there": (WRITES, [read(1, 2, 3), read(2, 21, 22), read(3, 41, 42)]),
    "the new one before it is acknowledged": (WRITES, [read(2, 11, 12), read(3, 29, 31)]),
    "the old one while the write runs": (WRITES, [read(1, 10, 25), read(1, 20, 200)]),
    "the old one for 100 ms on the other host": (WRITES, [read(1, 21, 22, host=1), read(1, 120, 121, host=1)]),
    "rows that go back on different connections": (WRITES, [read(2, 11, 12, connection=1), read(1, 13, 14, connection=2)]),
    "another route a little behind": (WRITES, [read(2, 11, 12), read(1, 13, 14, route=LIST)]),
    "a row that is not there yet": (WRITES, [read(None, 0, 1)]),
    "an unknown write that shows": ([*WRITES, write(4, 50, 60, UNKNOWN)], [read(4, 70, 71), read(4, 72, 73)]),
    "an unknown write that does not": ([*WRITES, write(4, 50, 60, UNKNOWN)], [read(3, 70, 71)]),
    "a refused write that does not show": ([*WRITES, write(4, 50, 60, REFUSED)], [read(3, 70, 71)]),
    "rows each by their own writes": ([*WRITES, write(1, 0, 1, ticker="B")], [read(3, 50, 51), read(1, 52, 53, ticker="B")]),
}

BAD = {
    "an old one after the acknowledgement": (WRITES, [read(1, 20.001, 21)], ["older"]),
    "an old one much later": (WRITES, [read(2, 5000, 5001)], ["older"]),
    "an old one on the other host after 100 ms": (WRITES, [read(1, 120.001, 121, host=1)], ["older"]),
    "an old one by a newer write alone": ([write(1, 0, 1), write(2, 2, 3, UNKNOWN), write(3, 4, 5)], [read(1, 6, 7)], ["older"]),
    "an unknown one after a newer one": ([*WRITES, write(4, 50, 60, UNKNOWN), write(5, 70, 80)], [read(4, 90, 91)], ["older"]),
    "a row that is gone": (WRITES, [read(None, 2, 3)], ["older"]),
    "a row that goes back before the acknowledgement": (WRITES, [read(2, 11, 12), read(1, 13, 14)], ["back"]),
    "a row that goes back on the other host": (WRITES, [read(2, 11, 12, host=1), read(1, 13, 14, host=1)], ["back"]),
    "a row that goes": (WRITES, [read(1, 0, 1), read(None, 1, 2)], ["back"]),
    "an unknown write that shows and goes": ([*WRITES, write(4, 50, 60, UNKNOWN)], [read(4, 70, 71), read(3, 72, 73)], ["back"]),
    "a version before it was sent": (WRITES, [read(2, 8, 9)], ["unsent"]),
    "a version that nobody sent": (WRITES, [read(7, 50, 51)], ["unsent"]),
    "a version of another row": ([*WRITES, write(1, 0, 1, ticker="B")], [read(3, 50, 51, ticker="B")], ["unsent"]),
    "a row that nobody wrote": (WRITES, [read(1, 50, 51, ticker="B")], ["unsent"]),
    "a write that was refused": ([*WRITES, write(4, 50, 60, REFUSED)], [read(4, 70, 71)], ["refused"]),
    "an error": (WRITES, [read(3, 50, 51, status=503)], ["status"]),
    "no answer": (WRITES, [read(3, 50, 51, status=None)], ["status"]),
    "a write without an answer": ([*WRITES, write(4, 50, 60, SILENT)], [], ["silent"]),
    "two faults at once": (WRITES, [read(2, 31, 32), read(1, 41, 42)], ["older", "back"]),
}


@pytest.mark.parametrize("read_at, host, stalls, expected", [
    (300, 1, [(60, 260)], []),
    (320, 1, [(60, 260)], []),
    (330, 1, [(60, 260)], ["older"]),
    (300, 1, [(200, 260)], ["older"]),
    (300, 1, [(60, 160), (200, 300)], []),
    (300, 1, [(310, 910)], ["older"]),
    (500, 1, [(0, 19)], ["older"]),
    (21, 0, [(15, 25)], ["older"]),
])
def test_another_host_has_as_much_longer_as_it_stood_still(read_at, host, stalls, expected):
    found = check(WRITES[:2], [read(1, read_at, read_at + 1, host=host)], [Stall(begin * MS, end * MS) for begin, end in stalls])
    assert [violation.rule for violation in found] == expected


@pytest.mark.parametrize("name", GOOD)
def test_it_accepts(name):
    writes, reads = GOOD[name]
    assert check(writes, reads) == []
    assert check(writes[::-1], reads[::-1]) == []


@pytest.mark.parametrize("name", BAD)
def test_it_finds(name):
    writes, reads, expected = BAD[name]
    assert rules(writes, reads) == expected
    assert rules(writes[::-1], reads[::-1]) == expected


def test_every_row_of_a_list_is_looked_at():
    writes = [write(version, 10 * version, 10 * version + 1, ticker=ticker) for ticker in "AB" for version in (1, 2)]
    late = Read(0, 1, LIST, 30 * MS, 31 * MS, 200, ("A", "B"), (2, 1), False)
    found = check(writes, [late])
    assert [violation.rule for violation in found] == ["older"] and "of B" in found[0].text
    assert isinstance(found[0], Violation)


@pytest.mark.parametrize("writes", [[write(2, 0, 1), write(1, 2, 3)], [write(1, 0, 5), write(2, 4, 6)], [write(1, 0, 1), write(1, 2, 3)]])
def test_it_refuses_rows_that_were_not_written_in_order(writes):
    with pytest.raises(ValueError, match="in order"):
        check(writes, [])


@pytest.mark.parametrize("status, content, outcome", [
    (200, b"{}", ACKNOWLEDGED),
    (409, b'{"detail":"The database refuses this: CHECK. Nothing was written."}', REFUSED),
    (503, b'{"detail":"Whether this was written is not known."}', UNKNOWN),
    (502, b"<html>Bad Gateway</html>", SILENT),
    (500, b"[]", SILENT),
    (500, b"{}", SILENT),
    (None, b"ConnectionResetError()", SILENT),
])
def test_what_a_writer_may_believe(status, content, outcome):
    assert outcome_of(status, content) == outcome
