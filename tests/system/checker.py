"""Whether readers are ever told something old: clients that raise version numbers and read them, and what must hold of it.

`record` has processes of their own write rising versions into stock rows through the API of one host, each row by one
writer in order, and read them on every host, while the caller breaks things. What was asked, when, and what came of it
is a History. `check` is pure: it takes a history and returns what in it breaks a promise.
"""

import bisect
import collections
import contextlib
import http.client
import itertools
import json
import multiprocessing
import pathlib
import random
import time

from conftest import children

# OUTCOME: one of those below. Times are of time.monotonic_ns, the same for all processes of a machine.
Write = collections.namedtuple("Write", "ticker version begin end outcome")
ACKNOWLEDGED, REFUSED, UNKNOWN, SILENT = "acknowledged", "refused", "unknown", "silent"
# One answer: VERSIONS are those of TICKERS, None for a row that was not there. STATUS None: there was no answer.
Read = collections.namedtuple("Read", "host connection route begin end status tickers versions hit")
Violation = collections.namedtuple("Violation", "rule text")
# From when to when somebody stood still on whom it depends that another host is told.
Stall = collections.namedtuple("Stall", "begin end")

MS = 1_000_000
# How long after a write was acknowledged a host may still give what was there before: the one that wrote, the others; these for as much
# longer as the machine let Redis, or who follows its log there, stand still meanwhile. What is less than STALL is nothing to speak of.
DELAYS = (0, 100 * MS)
STALL, WATCH_S = 40 * MS, 0.02

SECTOR = "Checked"
TICKERS = tuple(f"CHK{letter}" for letter in "ABCDEFGH")
WRITERS, READERS_PER_HOST, CONNECTIONS = 2, 2, 2
# The rows are the first of the list by market capitalisation, and their version is what it exceeds this by.
BASE = 10**15
DETAIL, LIST, TOP, SLOW = "/api/stocks/{}", f"/api/stocks/?sector={SECTOR}&limit=200", "/api/stocks/top?limit=100", "/api/slow/{}"
ROUTES = (DETAIL, LIST, DETAIL, SLOW, DETAIL, TOP, DETAIL, DETAIL)
READ_PAUSE_S, WRITE_PAUSE_S, FAILED_PAUSE_S = 0.001, 0.003, 0.02
# Writers write together for a while and then rest together, and each row rests for a whole turn now and then: what is left
# behind is old for long enough that any host is to blame for it, and the next write does not cover it up.
PERIOD_S, BURST_S, TURN_S = 0.3, 0.05, 2.0

# A route whose statement takes its time between having seen the row and being answered: something to be in the middle of.
SLOW_SQL = """-- name:    slow-stock
-- doc:     A stock, some milliseconds late.
-- route:   GET /api/slow/{ticker}
-- param:   ticker text upper ~ ^[A-Z][A-Z0-9.-]{0,9}$
-- key:     slow:{ticker}
-- shape:   object
-- ttl:     5m
-- stale:   1h
-- tags:    stock:{ticker}
WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < 30000)
SELECT ticker, market_cap, (SELECT max(n) FROM counter) AS steps FROM stocks WHERE ticker = :ticker;
"""


class Row:
    """The writes of one row, in order."""

    def __init__(self, writes):
        for before, after in itertools.pairwise(writes):
            if after.version <= before.version or after.begin < before.end:
                raise ValueError(f"not one writer in order: {before}, {after}")
        self.sent = {write.version: write for write in writes}
        acknowledged = [write for write in writes if write.outcome == ACKNOWLEDGED]
        self.versions = [write.version for write in acknowledged]
        self.ends = [write.end for write in acknowledged]

    def newer(self, version):
        """When the first write that is newer than VERSION was acknowledged; None: never. A row that is absent is older than all."""
        at = 0 if version is None else bisect.bisect_right(self.versions, version)
        return self.ends[at] if at < len(self.ends) else None


def allowed(read, newer, stalls):
    """How late a READ of what was there before may be after NEWER."""
    still = sum(stall.end - stall.begin for stall in stalls if stall.end > newer and stall.begin < read.begin)
    return DELAYS[read.host] + (still if read.host else 0)


def check_version(row, read, ticker, version, before, stalls):
    """What VERSION of a row, read by READ, breaks; BEFORE is the one that the same connection was given the last time."""
    where = f"host {read.host + 1}, connection {read.connection}, {read.route.format(ticker)}: version {version} of {ticker}"
    newer = row.newer(version)
    if newer is not None and read.begin - newer > DELAYS[read.host] and read.begin - newer > allowed(read, newer, stalls):
        yield Violation("older", f"{where} was read {(read.begin - newer) / MS:.3f} ms after a newer one was acknowledged")
    if before is not None and (version is None or version < before):
        yield Violation("back", f"{where} was read after version {before}")
    if version is None:
        return
    write = row.sent.get(version)
    if write is None or write.begin > read.end:
        yield Violation("unsent", f"{where} was read before it was sent")
    elif write.outcome == REFUSED:
        yield Violation("refused", f"{where} was read, and its writer was told that nothing was written")


def check(writes, reads, stalls=()):
    """The promises that a history breaks, as a list of Violation. On one connection, rows do not go back in any one route."""
    found = [Violation("silent", f"{write} ended without an answer that says so") for write in writes if write.outcome == SILENT]
    of = collections.defaultdict(list)
    for write in sorted(writes, key=lambda write: write.begin):
        of[write.ticker].append(write)
    rows = {ticker: Row(of[ticker]) for ticker in of}
    seen = {}
    for read in sorted(reads, key=lambda read: read.begin):
        if read.status != 200:
            found.append(Violation("status", f"host {read.host + 1}, {read.route}: {read.status or 'no answer'}"))
            continue
        for ticker, version in zip(read.tickers, read.versions, strict=True):
            place = (read.connection, read.route, ticker)
            found += check_version(rows[ticker] if ticker in rows else Row([]), read, ticker, version, seen.get(place), stalls)
            seen[place] = version
    return found


class History:
    def __init__(self, writes, reads):
        self.writes, self.reads, self.stalls = writes, reads, []

    def hits(self, host):
        """The share of HOST's reads that were answered from a cache."""
        answers = [read.hit for read in self.reads if read.host == host and read.status == 200]
        return sum(answers) / max(1, len(answers))

    def summary(self):
        outcomes = collections.Counter(write.outcome for write in self.writes)
        return (f"{len(self.reads)} reads, hits {self.hits(0):.0%} and {self.hits(1):.0%}, writes {dict(outcomes)}, "
                f"stood still for {[(stall.end - stall.begin) // MS for stall in self.stalls]} ms")

    def assert_coherent(self):
        found = check(self.writes, self.reads, self.stalls)
        rules = collections.Counter(violation.rule for violation in found)
        assert not found, "\n".join([f"{dict(rules)} in {self.summary()}", *(violation.text for violation in found[:20])])


class Client:
    """A kept connection; its number changes when it had to be made anew."""

    numbers = itertools.count(1)

    def __init__(self, process, host, port):
        self.process, self.host, self.port = process, host, port
        self.connection, self.number = http.client.HTTPConnection("127.0.0.1", port, timeout=60), 0

    def ask(self, method, path, body=None, headers={}):
        """Begin, end, status, X-Cache and body; status None without an answer."""
        if self.connection.sock is None:
            self.number = self.process * 1_000_000 + next(self.numbers)
        begin = time.monotonic_ns()
        try:
            self.connection.request(method, path, body=body, headers=headers)
            response = self.connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            return begin, time.monotonic_ns(), None, None, repr(error).encode()
        return begin, time.monotonic_ns(), response.status, response.getheader("X-Cache"), content

    def read(self, route, ticker):
        tickers = (ticker,) if "{}" in route else TICKERS
        begin, end, status, cache, content = self.ask("GET", route.format(ticker))
        versions = ()
        if status == 200:
            answer = json.loads(content)
            rows = {row["ticker"]: row["market_cap"] - BASE for row in answer.get("items", [answer]) if row["ticker"] in tickers}
            versions = tuple(rows.get(ticker) for ticker in tickers)
        elif status == 404 and "{}" in route:
            status, versions = 200, (None,)
        return Read(self.host, self.number, route, begin, end, status, tickers, versions, cache == "HIT")

    def write(self, ticker, version, token):
        body = json.dumps({"name": ticker, "sector": SECTOR, "price": 1, "market_cap": BASE + version})
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        begin, end, status, _, content = self.ask("PUT", f"/api/stocks/{ticker}", body, headers)
        return Write(ticker, version, begin, end, outcome_of(status, content))


def outcome_of(status, content):
    """What the writer may believe. A problem that does not say that nothing was written leaves it open."""
    if status == 200:
        return ACKNOWLEDGED
    try:
        detail = json.loads(content)["detail"]
    except (ValueError, TypeError, KeyError):
        return SILENT
    return REFUSED if "othing was written" in detail else UNKNOWN


def keep_writing(process, ports, token, stop, writes, reads):
    """Raises the versions of this writer's rows, in bursts, and looks at once at what it has done."""
    client, reader = Client(process, 0, ports[0]), Client(process, 0, ports[0])
    versions = dict.fromkeys(TICKERS[process::WRITERS], 0)
    for count in itertools.count():
        rest_s = PERIOD_S - time.monotonic() % PERIOD_S
        if rest_s < PERIOD_S - BURST_S:
            time.sleep(rest_s)
        if stop.is_set():
            return
        turn = [*versions][int(time.monotonic() / TURN_S) % 2::2]
        ticker = turn[count % len(turn)]
        versions[ticker] += 1
        writes.append(client.write(ticker, versions[ticker], token))
        reads.append(reader.read(ROUTES[count // len(turn) % len(ROUTES)], ticker))
        time.sleep(WRITE_PAUSE_S if writes[-1].outcome == ACKNOWLEDGED else FAILED_PAUSE_S)


def keep_reading(process, host, port, stop, reads):
    clients = [Client(process, host, port) for _ in range(CONNECTIONS)]
    dice = random.Random(process)
    for count in itertools.count(process):
        if stop.is_set():
            return
        reads.append(clients[count % len(clients)].read(dice.choice(ROUTES), dice.choice(TICKERS)))
        time.sleep(READ_PAUSE_S)


def run(process, ports, token, stop, pipe):
    """One of the processes: the first WRITERS write, of the others as many as READERS_PER_HOST read on each host."""
    writes, reads = [], []
    if process < WRITERS:
        keep_writing(process, ports, token, stop, writes, reads)
    else:
        host = (process - WRITERS) % len(ports)
        keep_reading(process, host, ports[host], stop, reads)
    pipe.send((writes, reads))


def followed_by(directory):
    """Redis, and the housekeeper of the other host: their ids."""
    for name in ("redis", "larder2"):
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int((directory / f"{name}.pid").read_text().split()[0])
            yield from [pid] if name == "redis" else [child for child, role in children(pid) if role == "larder: houseke"]


def keep_watch(directory, stop, pipe):
    """Notes when one of them waited for a processor for long, by what the kernel counts of that, or this process did, or all of them."""
    seen, stalls, last = {}, [], time.monotonic_ns()
    while not stop.is_set():
        time.sleep(WATCH_S)
        now = time.monotonic_ns()
        waits = [now - last - int(WATCH_S * 1e9)]
        for pid in followed_by(directory):
            with contextlib.suppress(OSError, IndexError):
                waited = int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[1])
                waits.append(waited - seen.get(pid, waited))
                seen[pid] = waited
        stalls += [Stall(last - wait, now) for wait in waits if wait > STALL]
        last = now
    pipe.send(stalls)


@contextlib.contextmanager
def record(stack):
    """Clients of STACK ask while the block runs. Yields the History, which is there after it."""
    ports = [stack.port] + ([stack.port + 1] if hasattr(stack, "url2") else [])
    first = Client(WRITERS + READERS_PER_HOST * len(ports), 0, stack.port)
    history = History([first.write(ticker, 0, stack.admin_token) for ticker in TICKERS], [])
    assert {write.outcome for write in history.writes} == {ACKNOWLEDGED}
    # Every read of the history is to begin when the rows are there on all hosts.
    time.sleep(max(DELAYS) / 1e9)
    context = multiprocessing.get_context("fork")
    stop, started = context.Event(), []
    for process in range(WRITERS + READERS_PER_HOST * len(ports)):
        here, there = context.Pipe(duplex=False)
        child = context.Process(target=run, args=(process, ports, stack.admin_token, stop, there), daemon=True)
        child.start()
        there.close()
        started.append((child, here))
    here, there = context.Pipe(duplex=False)
    watch = context.Process(target=keep_watch, args=(stack.dir, stop, there), daemon=True)
    watch.start()
    there.close()
    try:
        yield history
    finally:
        stop.set()
        with contextlib.suppress(EOFError):
            if here.poll(90):
                history.stalls += here.recv()
        watch.join(10)
        for child, pipe in started:
            with contextlib.suppress(EOFError):
                if pipe.poll(90):
                    writes, reads = pipe.recv()
                    history.writes += writes
                    history.reads += reads
            child.join(10)
            if child.is_alive():
                child.kill()
    assert [child.exitcode for child, _ in started] == [0] * len(started), "a client of the checker died"
