"""Clients that write while a test breaks something, what they were told, and what must be true of the database after it.

A History remembers every write that was sent, by its kind, and what its client may believe of it. A Kind is a route of its
own (SQL below), how to ask for it, and what to hold against the database; add one to KINDS and every test of faults writes
that way too. No table has a constraint that would hide a write that was carried out twice.
"""

import collections
import contextlib
import http.client
import itertools
import json
import pathlib
import random
import shutil
import socket
import sqlite3
import tempfile
import threading
import time

ACKNOWLEDGED, REFUSED, UNKNOWN = "acknowledged", "refused", "unknown"
Attempt = collections.namedtuple("Attempt", "kind client number outcome status answer")

CLIENTS, COUNTERS = 16, 4
# Kinds that share tables have numbers of their own in them, from these on.
BASES = THROUGH, BEHIND, ONCE, BEHIND_ONCE, CHANGED = range(0, 5000, 1000)

MIGRATION = f"""CREATE TABLE entries (client INTEGER NOT NULL, number INTEGER NOT NULL, filling TEXT NOT NULL) STRICT;
CREATE TABLE copies (client INTEGER NOT NULL, number INTEGER NOT NULL CHECK (number >= 0)) STRICT;
CREATE TABLE counters (name INTEGER PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO counters VALUES {", ".join(f"({base + name}, 0)" for base in BASES for name in range(COUNTERS))};
CREATE TABLE registers (client INTEGER PRIMARY KEY, version INTEGER NOT NULL) STRICT;
"""

# Reading what was written, through the caches.
READ_COUNTER = """-- name:  counter
-- route: GET /api/counters/{name}
-- param: name integer
-- key:   counters:{name}
-- shape: object
-- ttl:   1h
-- tags:  counters counter:{name}
SELECT name, value FROM counters WHERE name = :name;
"""
READ_ENTRIES = """-- name:  entries
-- route: GET /api/entries
-- param: client integer ?
-- key:   entries:{*}
-- shape: object
-- ttl:   1h
-- tags:  entries
SELECT count(*) AS entries, (SELECT count(*) FROM copies WHERE :client IS NULL OR client = :client) AS copies
FROM entries WHERE :client IS NULL OR client = :client;
"""


class Kind:
    """One way to write. `name` is also the name of its resource file, whose text is `sql`; None: another kind's does.

    `behind`: what is acknowledged is there after a while. `repeats`: a client sends the same again until it is acknowledged,
    and sometimes once more, and must be told the same.
    """

    method, status, base, behind, repeats = "POST", 201, THROUGH, False, False

    def request(self, client, number, size, get):
        """Path, members of the body and header fields of a client's write. GET(path) asks for something first."""
        raise NotImplementedError

    def check(self, attempts, database):
        """Yields what is wrong in DATABASE, a connection, after ATTEMPTS, those of this kind."""
        raise NotImplementedError


class Insert(Kind):
    """A new row in each of two tables: there once and in both, or nowhere."""

    name, path = "insert", "/api/entries"
    sql = """-- name:  insert
-- route: POST /api/entries
-- param: client integer
-- param: number integer
-- param: size integer 0..1000000
-- shape: object
-- purge: tag:entries
INSERT INTO entries (client, number, filling) VALUES (:client, :number, hex(zeroblob(:size / 2)));
INSERT INTO copies (client, number) VALUES (:client, :number) RETURNING client, number;
"""

    def request(self, client, number, size, get):
        return self.path, {"client": self.base + client, "number": number, "size": size}, {}

    def check(self, attempts, database):
        range_of = (self.base, self.base + 1000)
        entries, copies = (collections.Counter(database.execute(f"SELECT client, number FROM {table} WHERE client >= ? AND client < ?", range_of))
                           for table in ("entries", "copies"))
        allowed = {ACKNOWLEDGED: [(1, 1)], REFUSED: [(0, 0)], UNKNOWN: [(0, 0), (1, 1)]}
        for attempt in attempts:
            key = (self.base + attempt.client, attempt.number)
            found = (entries.pop(key, 0), copies.pop(key, 0))
            if found not in allowed[attempt.outcome]:
                yield f"{attempt}: {found[0]} entries and {found[1]} copies"
        for key in [*entries, *copies]:
            yield f"{key} is there, and nobody has asked for it"


class Spoil(Insert):
    """The same, but what the second statement does is forbidden: nothing may stay of the first, whoever shares the commit."""

    name, status = "spoil", 409
    sql = """-- name:  spoil
-- route: POST /api/spoilt
-- param: client integer
-- param: number integer
-- shape: object
-- purge: tag:spoilt
INSERT INTO entries (client, number, filling) VALUES (-1 - :client, -:number, '');
INSERT INTO copies (client, number) VALUES (-1 - :client, -:number) RETURNING client, number;
"""

    def request(self, client, number, size, get):
        return "/api/spoilt", {"client": client, "number": number + 1}, {}

    def check(self, attempts, database):
        for attempt in attempts:
            if attempt.outcome == ACKNOWLEDGED:
                yield f"{attempt}: it cannot have been carried out"
        for row in database.execute("SELECT client, number FROM entries WHERE client < 0"):
            yield f"{row} is there, and is half of a write that failed"


class Count(Kind):
    """One more, of counters that clients share: everybody who was answered has his own number, and none is lost."""

    name, path = "count", "/api/counters/{}"
    sql = """-- name:  count
-- route: POST /api/counters/{name}
-- param: name integer
-- shape: object
-- purge: tag:counter:{name}
UPDATE counters SET value = value + 1 WHERE name = :name RETURNING value;
"""

    def request(self, client, number, size, get):
        return self.path.format(self.base + client % COUNTERS), {}, {}

    def check(self, attempts, database):
        values = dict(database.execute("SELECT name, value FROM counters"))
        for name in range(COUNTERS):
            mine, value = [attempt for attempt in attempts if attempt.client % COUNTERS == name], values[self.base + name]
            acknowledged = [attempt.answer for attempt in mine if attempt.outcome == ACKNOWLEDGED]
            told = [answer["value"] for answer in acknowledged if "value" in answer]
            unknown = sum(attempt.outcome == UNKNOWN for attempt in mine)
            if not len(acknowledged) <= value <= len(acknowledged) + unknown:
                yield f"counter {name} is {value} after {len(acknowledged)} acknowledged and {unknown} unknown"
            if len(set(told)) < len(told) or max(told, default=0) > value:
                yield f"counter {name} is {value}, and two were told the same, or one more than that"


class Raise(Kind):
    """A register of each client's own, only ever raised; by PUT, which whoever is in between may repeat."""

    name, method, status = "raise", "PUT", 200
    sql = """-- name:  raise
-- route: PUT /api/registers/{client}
-- param: client integer
-- param: version integer
-- shape: object
-- purge: key:registers:{client}
INSERT INTO registers (client, version) VALUES (:client, :version)
ON CONFLICT (client) DO UPDATE SET version = max(version, excluded.version) RETURNING version;
"""

    def request(self, client, number, size, get):
        return f"/api/registers/{client}", {"version": number}, {}

    def check(self, attempts, database):
        versions = dict(database.execute("SELECT client, version FROM registers"))
        for client in range(CLIENTS):
            mine = {attempt.number: attempt.outcome for attempt in attempts if attempt.client == client}
            least = max((number for number, outcome in mine.items() if outcome == ACKNOWLEDGED), default=-1)
            found = versions.get(client, -1)
            if found < least or (found >= 0 and mine.get(found, REFUSED) == REFUSED):
                yield f"register {client} is {found} ({mine.get(found)}), and {least} was acknowledged"


def put_behind(sql):
    """The resource as one that writes behind, at a path of its own."""
    return sql.replace("-- name:  ", "-- name:  behind-").replace("POST /api/", "POST /api/behind/").replace("-- shape:", "-- write: behind\n-- shape:")


class InsertBehind(Insert):
    name, path, sql, status, base, behind = "behind-insert", "/api/behind/entries", put_behind(Insert.sql), 202, BEHIND, True


class SpoilBehind(Spoil):
    """Accepted, and what then fails is kept as a failure, once."""

    name, sql, status, behind = "behind-spoil", put_behind(Spoil.sql), 202, True

    def request(self, client, number, size, get):
        return "/api/behind/spoilt", {"client": client, "number": number + 1}, {}

    def check(self, attempts, database):
        acknowledged, unknown = (sum(attempt.outcome == outcome for attempt in attempts) for outcome in (ACKNOWLEDGED, UNKNOWN))
        failed = database.execute("SELECT count(*) FROM larder_failures").fetchone()[0]
        if not acknowledged <= failed <= acknowledged + unknown:
            yield f"{failed} are kept as failed after {acknowledged} acknowledged and {unknown} unknown"


class CountBehind(Count):
    name, path, sql, status, base, behind = "behind-count", "/api/behind/counters/{}", put_behind(Count.sql), 202, BEHIND, True


class Once:
    """With an Idempotency-Key: sent again until it is acknowledged, and even after that, it is carried out once."""

    repeats = True

    def request(self, client, number, size, get):
        path, members, _ = super().request(client, number, size, get)
        return path, members, {"Idempotency-Key": f"{self.base}-{client}-{number}"}


class InsertOnce(Once, Insert):
    name, sql, base = "insert-once", None, ONCE


class CountOnce(Once, Count):
    name, sql, base = "count-once", None, ONCE


class InsertBehindOnce(Once, InsertBehind):
    name, sql, base = "behind-insert-once", None, BEHIND_ONCE


class CountChanged(Count):
    """Counted by the client: reads a counter, and has one more put in its place if that is still what is there."""

    name, path, base = "count-changed", "/api/counters/{}/changed", CHANGED
    sql = """-- name:  count-changed
-- route: POST /api/counters/{name}/changed
-- param: name integer
-- param: value integer
-- shape: object
-- purge: tag:counter:{name}
UPDATE counters SET value = :value WHERE name = :name RETURNING value;
"""
    read_sql = """-- name:  counter-changed
-- route: GET /api/counters/{name}/changed
-- param: name integer
-- key:   counters-changed:{name}
-- shape: object
-- ttl:   1h
-- tags:  counters counter:{name}
SELECT value FROM counters WHERE name = :name;
"""

    def request(self, client, number, size, get):
        path, _, _ = super().request(client, number, size, get)
        response, content = get(path)
        if response.status != 200:
            raise ConnectionError("nothing was read, and so nothing is written")
        return path, {"value": json.loads(content)["value"] + 1}, {"If-Match": response.getheader("ETag")}


KINDS = (Insert(), Spoil(), Count(), Raise(), InsertBehind(), SpoilBehind(), CountBehind(),
         InsertOnce(), CountOnce(), InsertBehindOnce(), CountChanged())


def make_sql(directory, kinds=KINDS):
    """A directory of SQL for scripts/stack: the tables, a route for each kind, and two that read."""
    for name in ("migrations", "resources", "import"):
        (directory / name).mkdir(parents=True)
    (directory / "migrations" / "0001-writes.sql").write_text(MIGRATION)
    (directory / "resources" / "counter.sql").write_text(READ_COUNTER)
    (directory / "resources" / "entries.sql").write_text(READ_ENTRIES)
    for kind in kinds:
        if kind.sql:
            (directory / "resources" / f"{kind.name}.sql").write_text(kind.sql)
    (directory / "resources" / "counter-changed.sql").write_text(CountChanged.read_sql)
    return directory


def outcome_of(status, content):
    """What the client may believe. A problem that does not say that nothing was written leaves it open."""
    if status is not None and 200 <= status < 300:
        return ACKNOWLEDGED
    with contextlib.suppress(ValueError, TypeError, KeyError):
        if "othing was written" in json.loads(content)["detail"]:
            return REFUSED
    return UNKNOWN


class History:
    """Everything that was sent. CLIENTS of it run by `clients`, one after the other; numbers are never used twice."""

    def __init__(self, kinds=KINDS):
        self.kinds, self.attempts, self.numbers = kinds, [], itertools.count()
        self.open = collections.defaultdict(list)  # by client: what it is still to send again
        self.faults = []  # what clients found wrong themselves

    def clients(self, stack, **options):
        return Clients(self, stack, **options)

    def of(self, kind=None, outcome=None, since=0):
        return [attempt for attempt in self.attempts[since:]
                if (kind is None or attempt.kind is kind) and (outcome is None or attempt.outcome == outcome)]

    def settled(self, kind):
        """Attempts of a kind, those that were repeated as one. A refusal speaks only of the try that it answers."""
        best, order = {}, (REFUSED, UNKNOWN, ACKNOWLEDGED)
        for attempt in self.of(kind):
            before = best.setdefault(attempt.number, attempt)
            if order.index(attempt.outcome) > order.index(before.outcome):
                best[attempt.number] = attempt
        return list(best.values())

    def statuses(self, since=0):
        return {attempt.status for attempt in self.attempts[since:]}

    def assert_kept(self, path, applied=True, patience_s=20):
        """That the database at PATH is sound and holds what it must, and every SQLite file beside it is sound.

        Writes behind get PATIENCE_S to be applied; they are not looked at where they cannot have been (APPLIED).
        """
        for file in sorted(pathlib.Path(path).parent.glob("*")):
            if file.is_file() and not file.name.endswith(("-wal", "-shm")) and is_sqlite(file):
                assert integrity(file) == "ok", file
        found, deadline = self.find_faults(path, behind=False), time.monotonic() + patience_s
        if applied:
            while (late := self.find_faults(path, behind=True)) and time.monotonic() < deadline:
                time.sleep(0.1)
            found += late
        outcomes = collections.Counter(attempt.outcome for attempt in self.attempts)
        assert not found, "\n".join([f"{len(found)} faults after {dict(outcomes)}", *found[:20]])

    def find_faults(self, path, behind):
        with contextlib.closing(connect(path)) as database:
            database.execute("BEGIN")
            found = [f"{kind.name}: {text}" for kind in self.kinds if kind.behind == behind
                     for text in kind.check(self.settled(kind), database)]
        return found + ([] if behind else self.faults)

    def assert_on_disk(self, path):
        """The same of a copy of the files as they lie there, while nobody has them open."""
        with tempfile.TemporaryDirectory(prefix="larder-", dir="/tmp") as directory:
            for file in pathlib.Path(path).parent.glob("*"):
                if file.is_file() and not file.name.endswith("-shm") and file.name.startswith(pathlib.Path(path).name):
                    shutil.copy(file, directory)
            self.assert_kept(pathlib.Path(directory, pathlib.Path(path).name), applied=False)


def is_sqlite(file):
    with open(file, "rb") as opened:
        return opened.read(16) == b"SQLite format 3\0"


def connect(path):
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30, isolation_level=None)


def integrity(path):
    """What SQLite finds wrong; nothing is `ok`."""
    with contextlib.closing(connect(path)) as database:
        return database.execute("PRAGMA integrity_check").fetchone()[0]


class Clients:
    """COUNT threads that write, each on a kept connection, by kinds chosen at random, while the `with` block runs.

    VANISH: of so many of its writes a client does not wait for the answer, of half of those it does not even send all. SIZE(dice)
    is how large an entry is to be.
    """

    def __init__(self, history, stack, count=CLIENTS, vanish=0.0, pause=0.001, size=lambda dice: 10, kinds=None):
        self.history, self.stack, self.vanish, self.pause, self.size = history, stack, vanish, pause, size
        self.kinds = kinds or history.kinds
        self.first = len(history.attempts)
        self.acknowledged = itertools.count()
        self.seen = 0
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True) for number in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(90)
        assert not any(thread.is_alive() for thread in self.threads), "a client waits for an answer for more than 90 s"

    def run(self, client):
        dice, connection = random.Random(f"{client} {self.first}"), None
        while not self.stopping.is_set():
            try:
                connection = connection or socket.create_connection(("127.0.0.1", self.stack.port), timeout=60)
            except OSError:
                time.sleep(0.01)  # nothing was sent
                continue
            attempt, keeps = self.attempt(connection, client, dice)
            if not keeps:
                connection.close()
                connection = None
            time.sleep(self.pause if attempt.outcome != UNKNOWN else 0.01)
        if connection:
            connection.close()

    def attempt(self, connection, client, dice):
        """One write, a new one or one that is to be sent again, for the history; and whether the connection can be used again."""
        again = self.history.open[client]
        if again:
            kind, number, request, told = again.pop()
        else:
            kind, number, request, told = dice.choice(self.kinds), next(self.history.numbers), None, None
        try:
            request = request or kind.request(client, number, self.size(dice), lambda path: self.exchange(connection, "GET", path))
            outcome, status, answer, keeps = self.ask(connection, kind, request, dice)
        except (OSError, http.client.HTTPException):
            outcome, status, answer, keeps = (UNKNOWN if request else REFUSED), None, None, False
        attempt = Attempt(kind, client, number, outcome, status, answer)
        self.history.attempts.append(attempt)
        if outcome == ACKNOWLEDGED:
            self.seen = next(self.acknowledged) + 1
            if told not in (None, answer):
                self.history.faults.append(f"{attempt}: it was told {told} before")
        if kind.repeats and (outcome != ACKNOWLEDGED or dice.random() < 0.2):
            again.append((kind, number, request, answer if outcome == ACKNOWLEDGED else told))
        return attempt, keeps

    def ask(self, connection, kind, request, dice):
        """Outcome, status and answer of a write, and whether the connection can be used again."""
        path, members, headers = request
        if dice.random() < self.vanish:
            whole = self.encode(kind.method, path, members, headers)
            if dice.random() < 0.5:
                connection.sendall(whole[:dice.randrange(1, len(whole))])
                return REFUSED, None, None, False
            connection.sendall(whole)
            time.sleep(dice.random() * 0.01)
            return UNKNOWN, None, None, False
        response, content = self.exchange(connection, kind.method, path, members, headers)
        return outcome_of(response.status, content), response.status, json.loads(content) if content else None, not response.will_close

    def exchange(self, connection, method, path, members=None, headers={}):
        """The answer, as http.client has it, and its body."""
        connection.sendall(self.encode(method, path, members, headers))
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        return response, response.read()

    def encode(self, method, path, members, headers):
        body = b"" if members is None else json.dumps(members).encode()
        fields = {"Host": "localhost", "Authorization": f"Bearer {self.stack.admin_token}", "Content-Type": "application/json",
                  "Content-Length": len(body), **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        return "\r\n".join(lines).encode() + body

    def wait(self, count, seconds=60):
        """Returns when COUNT further writes have been acknowledged."""
        goal, deadline = self.seen + count, time.monotonic() + seconds
        while self.seen < goal:
            assert time.monotonic() < deadline, f"{count} writes were not acknowledged within {seconds} s"
            time.sleep(0.002)
