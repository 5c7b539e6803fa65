"""Configuration and resources: what `larder check` says, and what a running server makes of a change."""

import os
import pathlib
import re
import signal
import sqlite3
import subprocess

import pytest

from conftest import PATIENT, ROOT, assert_problem, copy_sql, wait_for

HELLO = """-- name: hello
-- doc: A greeting.
-- route: GET /api/hello/{who}
-- param: who text 1..20
-- key: hello:{who}
-- ttl: 1h
-- tags: hello
-- shape: object
SELECT 'Hello ' || :who AS greeting;
"""


class Place:
    """A configuration and a copy of the shipped SQL in a directory of their own, without any server."""

    def __init__(self, directory):
        self.sql = copy_sql(directory / "sql")
        self.file = directory / "larder.conf"
        self.database = directory / "larder.db"
        self.configure("")

    def configure(self, text):
        self.file.write_text(f"[store]\ndatabase = {self.database}\nsql = {self.sql}\n{text}")

    def resource(self, name, text):
        (self.sql / "resources" / f"{name}.sql").write_text(text)

    def run(self, *arguments, **environment):
        program = os.environ.get("LARDER", ROOT / "build" / "larder")
        return subprocess.run([program, "--config", self.file, *arguments], text=True, capture_output=True, timeout=60, env={**os.environ, **environment})

    def complaints(self, **environment):
        """What check says, a line each, without the places' directory."""
        result = self.run("check", **environment)
        assert result.returncode == 2 and result.stdout == "", result
        *lines, last = result.stderr.replace(f"{self.file.parent}/", "").splitlines()
        assert last == f"larder: found wrong: {len(lines)}" and all(line.startswith("larder: ") for line in lines)
        return [line.removeprefix("larder: ") for line in lines]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def has_line(lines, beginning, *words):
    found = [line for line in lines if line.startswith(beginning) and all(word in line for word in words)]
    assert found, f"nothing like {beginning!r} {words} in\n" + "\n".join(lines)


# larder check.

def test_what_is_shipped_is_right(place):
    result = place.run("check")
    assert result.returncode == 0 and "6 resources" in result.stdout and result.stderr == ""
    assert not place.database.exists()


def test_what_is_right_is_right_for_a_database_that_is_there_too(place):
    assert place.run("migrate", "--sample").returncode == 0
    before = place.database.read_bytes()
    assert place.run("check").returncode == 0
    assert place.database.read_bytes() == before


def test_the_sample_configuration_is_right(place):
    sample = (ROOT / "larder.conf.sample").read_text()
    place.file.write_text(re.sub(r"(?m)^#sql = .*$", f"sql = {place.sql}", re.sub(r"(?m)^#database = /.*$", f"database = {place.database}", sample)))
    assert place.run("check").returncode == 0
    everything = re.sub(r"(?m)^#([a-z_]+ =)", r"\1", place.file.read_text())
    place.file.write_text(re.sub(r"(?m)^(user|group|allow_users) =.*\n", "", everything))
    result = place.run("check")
    assert result.returncode == 0, result.stderr


def test_check_prints_what_is_in_force_and_that_reads_the_same(place):
    place.configure("[server]\nworkers = 7\n[redis]\nurl = memory:\n")
    printed = place.run("check", "--print", LARDER_SERVER_POOL="9").stdout
    assert re.search(r"(?m)^workers = 7$", printed) and re.search(r"(?m)^pool = 9$", printed) and re.search(r"(?m)^#queue = 256$", printed)
    place.file.write_text(printed)
    assert place.run("check", "--print").stdout == printed


def test_everything_wrong_with_the_configuration_is_said_at_once_with_its_line(place):
    place.configure("""[server]
workers = many
wrokers = 2
socket_mode = 999
[sever]
pool = 4
[server]
what is this
[auth]
admin_token = short
[store]
busy_timeout = soon
[redis]
url = http://localhost
""")
    lines = place.complaints()
    for beginning, word in (("larder.conf:5: `workers` in [server] is `many`", "auto"), ("larder.conf:6: ", "did you mean `workers`"),
                            ("larder.conf:7: `socket_mode`", "999"), ("larder.conf:8: ", "did you mean [server]"), ("larder.conf:11: ", "setting = value"),
                            ("larder.conf:13: `admin_token`", "16"), ("larder.conf:15: `busy_timeout`", "soon"), ("larder.conf:17: `url`", "redis://")):
        has_line(lines, beginning, word)
    assert len(lines) == 8


def test_the_environment_is_checked_too(place):
    lines = place.complaints(LARDER_SERVER_WORKERS="none", LARDER_SEVER_POOL="1", LARDER_AUTH_ADMIN_TOKEN_FILE=str(place.file.parent / "missing"))
    has_line(lines, "LARDER_SERVER_WORKERS: ", "none")
    has_line(lines, "LARDER_SEVER_POOL: ", "LARDER_SERVER_POOL")
    has_line(lines, "LARDER_AUTH_ADMIN_TOKEN_FILE: ", "missing cannot be read")


@pytest.mark.parametrize("setting, words", [
    ("[redis]\nurl = redis://localhost:99999", "`url` in [redis]: the port must be"),
    ("[redis]\nurl = unix://redis.sock", "`url` in [redis]: the path of the socket must be absolute"),
    ("[server]\nallow_users = root www-dta", "`allow_users` in [server]: there is no user `www-dta`"),
    ("[server]\ngroup = no-such-group", "`group` in [server]: there is no group `no-such-group`"),
])
def test_what_serve_would_refuse_check_says(place, setting, words):
    place.configure(setting + "\n")
    has_line(place.complaints(), "larder.conf:5: ", words)
    served = place.run("serve")
    assert served.returncode == 2 and words in served.stderr


def test_without_a_file_the_environment_is_told_of_all_the_same(place):
    environment = {"LARDER_STORE_SQL": str(place.sql), "LARDER_STORE_DATABASE": str(place.database), "LARDER_CONFIG": "",
                   "LARDER_REDIS_URL": "redis://localhost:99999", "LARDER_SERVER_SOCKET": str(place.file.parent / "s")}
    program = os.environ.get("LARDER", ROOT / "build" / "larder")
    served = subprocess.run([program, "serve"], text=True, capture_output=True, timeout=60, env={**os.environ, **environment})
    assert served.returncode == 2 and "`url` in [redis]: the port must be" in served.stderr
    asked = subprocess.run([program], text=True, capture_output=True, timeout=60, stdin=subprocess.DEVNULL,
                           env={**os.environ, **environment, "GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "GET", "REQUEST_URI": "/api/stocks/AAPL"})
    assert asked.stdout.startswith("Status: 500 ")


def test_a_secret_is_never_repeated(place):
    place.configure("[auth]\nadmin_token = geheim\n[redis]\nurl = redis://user:geheim@localhost:x/\n")
    assert "geheim" not in "\n".join(place.complaints())


RESOURCES = [
    ("-- route: GET /api/x\nSELECT 1;", "x.sql:1", "`name:` is missing"),
    ("-- name: x\nSELECT 1;", "x.sql:1", "`route:` is missing"),
    ("-- name: x\n-- route: FETCH /api/x\n-- key: x\nSELECT 1;", "x.sql:2:11", "FETCH"),
    ("-- name: x\n-- route: GET api/x\n-- key: x\nSELECT 1;", "x.sql:2", "begins with `/`"),
    ("-- name: x\n-- route: GET /api/{y}\n-- key: x\nSELECT 1;", "x.sql:2:20", "not declared"),
    ("-- name: x\n-- colour: red\n-- route: GET /api/x\n-- key: x\nSELECT 1;", "x.sql:2:4", "`colour:` is unknown"),
    ("-- name: x\n-- route: GET /api/x\n-- param: y nmber\n-- key: x:{*}\nSELECT 1;", "x.sql:3:11", "`nmber` is no type"),
    ("-- name: x\n-- route: GET /api/x\n-- param: y text ~ ([\n-- key: x:{*}\nSELECT :y;", "x.sql:3", "param"),
    ("-- name: x\n-- route: GET /api/x\n-- param: y text\n-- key: x\n-- ttl: 5m\nSELECT :y AS y;", "x.sql:4:9", "`{y}` is not in it"),
    ("-- name: x\n-- route: GET /api/x\n-- key: x\n-- ttl: 5 minutes\nSELECT 1;", "x.sql:4:9", "duration"),
    ("-- name: x\n-- route: GET /api/x\n-- key: x\n-- ttl: 5m\n-- purge: tag:x\nSELECT 1;", "x.sql:5", "`purge:`"),
    ("-- name: stock\n-- route: GET /api/x\n-- key: x\n-- ttl: 5m\nSELECT 1 AS one;", "x.sql:1:10", "`stock` is taken"),
    ("-- name: x\n-- route: GET /api/stocks/{t}\n-- param: t text\n-- key: x:{t}\n-- ttl: 5m\nSELECT :t AS t;", "x.sql:2", "is taken"),
    ("-- name: x\n-- route: GET /api/x/{t}\n-- param: t text\n-- key: stocks:detail:{t}\n-- ttl: 5m\nSELECT :t AS t;", "x.sql:4:9", "could equal the key"),
    ("-- name: x\n-- route: GET /healthz\n-- key: x\n-- ttl: 5m\nSELECT 1 AS one;", "x.sql:2:11", "one of larder's own"),
    ("-- name: x\n-- route: GET /api/x\n-- key: x\n-- ttl: 5m\nSELECT ticker,\n  nosuch FROM stocks;", "x.sql:6:3", "no such column: nosuch"),
    ("-- name: x\n-- route: GET /api/x\n-- key: x\n-- ttl: 5m\nSELECT * FROM nowhere;", "x.sql:5:", "no such table: nowhere"),
    ("-- name: x\n-- route: GET /api/x\n-- key: x\n-- ttl: 5m\nSELCT 1;", "x.sql:5:1", "syntax error"),
    ("-- name: x\n-- route: GET /api/x\n-- key: x\n-- ttl: 5m\nSELECT :y AS y;", "x.sql:5:8", ":y is neither declared"),
    ("-- name: x\n-- route: GET /api/x\n-- key: x\n-- ttl: 5m\nDELETE FROM stocks;", "x.sql:5:", ""),
    ("-- name: x\n-- route: GET /api/x\n-- key: x\n-- ttl: 5m\nSELECT 1 AS a; SELECT 2 AS b;", "x.sql:5:16", "second one"),
    ("-- name: x\n-- route: GET /api/x\n-- key: x\n-- ttl: 5m\nATTACH 'other.db' AS other;", "x.sql:5:", "not allowed"),
    ("-- name: x\n-- route: GET /api/x\n-- key: x\n-- ttl: 5m\n-- nothing but this", "x.sql", "statement"),
    ("-- name: x\n-- route: POST /api/x\nSELECT 1 AS one;", "x.sql:3", "GET"),
    ("-- name: x\n-- route: POST /api/x\nCOMMIT; DELETE FROM stocks;", "x.sql:3:", "not allowed"),
    ("", "x.sql", "`route:` is missing"),
]


@pytest.mark.parametrize("text, beginning, words", RESOURCES, ids=[words or beginning for _, beginning, words in RESOURCES])
def test_a_wrong_resource_is_named_with_line_and_column(place, text, beginning, words):
    place.resource("x", text)
    lines = place.complaints()
    assert any(f"/{beginning}" in line and words in line for line in lines), lines


def test_everything_wrong_in_several_files_is_said_at_once(place):
    place.resource("aa", RESOURCES[5][0].replace("x", "aa"))
    place.resource("bb", RESOURCES[15][0].replace("x", "bb"))
    place.resource("cc", RESOURCES[18][0].replace("x", "cc"))
    for name, path in (("ff", "/api/cache/status"), ("gg", "/api/gg"), ("hh", "/api/gg")):
        place.resource(name, f"-- name: {name}\n-- route: GET {path}\nSELECT 1 AS one;")
    (place.sql / "import" / "dd.sql").write_text("-- purge: everything\nINSERT INTO stocks VALUES (:a);")
    (place.sql / "import" / "ee.sql").write_text("INSERT INTO nowhere VALUES (:a);")
    lines = place.complaints()
    has_line(lines, "sql/resources/aa.sql:2:4: ", "`colour:` is unknown")
    has_line(lines, "sql/resources/bb.sql:6:3: ", "no such column")
    has_line(lines, "sql/resources/cc.sql:5:8: ", ":y is neither declared")
    has_line(lines, "sql/resources/ff.sql:2:11: ", "one of larder's own")
    assert [line for line in lines if "hh.sql" in line] == ["sql/resources/hh.sql:2:11: the route GET /api/gg is taken by sql/resources/gg.sql, which matches the same paths"]
    has_line(lines, "sql/import/dd.sql:1:", "everything")
    has_line(lines, "sql/import/ee.sql:1:", "no such table")


@pytest.mark.parametrize("name, text, beginning, words", [
    ("0004-broken.sql", "CREATE TABLE a (b INTEGER);\nCREATE TABEL c (d INTEGER);\n", "sql/migrations/0004-broken.sql:2:", "syntax error"),
    ("0004-again.sql", "CREATE TABLE stocks (a INTEGER);\n", "sql/migrations/0004-again.sql:1:", "already exists"),
    ("0004-commit.sql", "CREATE TABLE a (b INTEGER);\nCOMMIT;\n", "sql/migrations/0004-commit.sql:2:", "not allowed"),
    ("0005-gap.sql", "CREATE TABLE a (b INTEGER);\n", "sql/migrations/0005-gap.sql: ", "0004 is missing"),
    ("0002-second.sql", "CREATE TABLE a (b INTEGER);\n", "sql/migrations/0002-second.sql: ", "two migrations"),
    ("third.sql", "CREATE TABLE a (b INTEGER);\n", "sql/migrations/third.sql: ", "NNNN-name.sql"),
])
def test_a_wrong_migration_is_named(place, name, text, beginning, words):
    (place.sql / "migrations" / name).write_text(text)
    has_line(place.complaints(), beginning, words)
    assert place.run("migrate").returncode == 1
    if place.database.exists():
        with sqlite3.connect(place.database) as db:
            assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'a'").fetchone() == (0,)


def test_statements_are_checked_against_the_database_as_it_will_be(place):
    assert place.run("migrate").returncode == 0
    (place.sql / "migrations" / "0004-notes.sql").write_text("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);\n")
    place.resource("notes", "-- name: notes\n-- route: GET /api/notes\n-- key: notes\n-- ttl: 5m\n-- shape: list\nSELECT id, text FROM notes;")
    assert place.run("check").returncode == 0
    with sqlite3.connect(place.database) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)


def test_a_missing_directory_or_file_is_said(place):
    missing = place.file.parent / "missing"
    place.file.write_text(f"[store]\ndatabase = {place.database}\nsql = {missing}\n")
    has_line(place.complaints(), "missing/resources: ", "sql")
    (place.sql / "resources" / "stock.sql").unlink()
    (place.sql / "resources" / "stock.sql").mkdir()
    place.configure("")
    has_line(place.complaints(), "sql/resources/stock.sql: ", "a directory and no file")
    place.file.unlink()
    has_line(place.complaints(), "larder.conf: ", "cannot be read")


def test_serve_with_a_wrong_file_does_not_start_and_says_why(place):
    place.resource("x", RESOURCES[15][0])
    result = place.run("serve")
    assert result.returncode == 2 and "x.sql:6:3: no such column" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["sideways"], ["check", "more"], ["serve", "more"], ["--sideways"], ["migrate", "x"], ["stats", "x"], ["check", "--all"],
                                       ["stats", "--print"], ["serve", "--sample"], ["purge", "--tag", "--key", "x"], ["purge", "--all", "--tag"]], ids=str)
def test_wrong_usage_exits_with_2(place, arguments):
    result = place.run(*arguments)
    assert result.returncode == 2 and result.stderr and result.stdout == ""


@pytest.mark.parametrize("arguments", [["check"], ["check", "--print"], ["migrate"], ["openapi"], ["--help"], ["--version"]], ids=str)
def test_results_that_cannot_be_written_are_a_failure(place, arguments):
    program = os.environ.get("LARDER", ROOT / "build" / "larder")
    with open("/dev/full", "w") as full:
        done = subprocess.run([program, "--config", place.file, *arguments], text=True, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 and done.stderr == "larder: standard output cannot be written\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_who_may_not_ask_the_server_is_told_so(served, place):
    os.chmod(place.file, 0o644)
    place.file.write_text(f"[server]\nsocket = {served.dir}/larder.sock\n")
    for directory in [*served.dir.parents[:-2], served.dir, *place.file.parents[:-2]]:
        directory.chmod(directory.stat().st_mode | 0o011)
    program = os.environ.get("LARDER", ROOT / "build" / "larder")
    done = subprocess.run([program, "--config", place.file, "stats"], text=True, capture_output=True, timeout=60, user=65534, group=65534, extra_groups=[])
    assert done.returncode == 1 and f"uid 65534 may not connect to {served.dir}/larder.sock" in done.stderr


def test_streams_that_are_closed_are_nobodys(place):
    program = os.environ.get("LARDER", ROOT / "build" / "larder")
    done = subprocess.run(["sh", "-c", 'exec "$0" "$@" 0<&- 2>&-', program, "--config", place.file, "migrate"], text=True, stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == 0 and done.stdout == f"{place.database} is up to date\n"
    done = subprocess.run(["sh", "-c", 'exec "$0" "$@" 1>&-', program, "--config", place.file, "check"], text=True, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 and "standard output" in done.stderr


def test_help_and_version(place):
    assert "check" in place.run("--help").stdout and place.run("--version").stdout.startswith("larder ")


def test_without_any_environment():
    program = os.environ.get("LARDER", ROOT / "build" / "larder")
    result = subprocess.run([program, "--version"], env={}, text=True, capture_output=True, timeout=30)
    assert result.returncode == 0 and result.stdout.startswith("larder ") and result.stderr == ""


def test_a_database_newer_than_the_program_is_refused_and_left_alone(place):
    assert place.run("migrate", "--sample").returncode == 0
    with sqlite3.connect(place.database) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    before = place.database.read_bytes()
    has_line(place.complaints(), "larder.db: ", "version 9", "newer release")
    (place.file.parent / "a.csv").write_text("Symbol,Name,Sector\nNEW,New,New\n")
    for arguments, code in ((["serve"], 2), (["migrate"], 1), (["import", "stocks", place.file.parent / "a.csv"], 1)):
        result = place.run(*arguments)
        assert result.returncode == code and "newer release" in result.stderr, arguments
    assert place.database.read_bytes() == before


# A running server.

@pytest.fixture(scope="module")
def served(make_session_stack, tmp_path_factory):
    """A stack with SQL of its own; tests leave it with right files."""
    return make_session_stack("--sql", copy_sql(tmp_path_factory.mktemp("served") / "sql"), *PATIENT)


@pytest.fixture
def sql(served):
    return pathlib.Path(served.arguments[served.arguments.index("--sql") + 1])


def reload(stack, expected):
    """SIGHUP, and what was logged of it once the event EXPECTED is in the log."""
    before = len(stack.log())
    os.kill(stack.larder_pid, signal.SIGHUP)
    wait_for(f"{expected} in the log", lambda: re.search(rf"\b{expected}\b", stack.log()[before:]))
    return stack.log()[before:]


def two_workers(stack):
    """The workers, once those of the generation before have gone."""
    return wait_for("two workers", lambda: len(stack.children("worker")) == 2 and stack.children("worker"))


def test_an_own_resource_is_served_after_sighup(served, sql):
    assert_problem(served.get("/api/hello/you"), 404)
    (sql / "resources" / "hello.sql").write_text(HELLO)
    served.reload()
    served.wait_for_trust()
    assert served.get("/stats").json()["resources"] == 7
    assert [served.get("/api/hello/you").headers["X-Cache"] for _ in range(2)] == ["MISS", "HIT"]
    assert served.get("/api/hello/you").json() == {"greeting": "Hello you"}
    assert served.keys("hello:*") == ["hello:you"]
    served.invalidate(tag="hello")
    assert served.get("/api/hello/you").headers["X-Cache"] == "MISS"


def test_a_changed_resource_is_served_after_sighup_and_a_purge(served, sql):
    (sql / "resources" / "hello.sql").write_text(HELLO.replace("Hello", "Good day"))
    served.reload()
    served.invalidate(tag="hello")
    assert served.get("/api/hello/you").json() == {"greeting": "Good day you"}


@pytest.mark.parametrize("text, place", [(RESOURCES[5][0], "x.sql:2:4: "), (RESOURCES[15][0], "x.sql:6:3: "), (RESOURCES[12][0], "x.sql:2:")], ids=["front matter", "SQL", "route"])
def test_a_wrong_resource_keeps_what_ran(served, sql, text, place):
    workers, hello = two_workers(served), served.get("/api/hello/you").json()
    (sql / "resources" / "x.sql").write_text(text)
    (sql / "resources" / "hello.sql").write_text(HELLO.replace("Hello", "Never"))
    try:
        said = reload(served, "reload_refused")
        assert place in said
        served.invalidate(tag="hello")
        assert served.get("/api/hello/you").json() == hello
        assert served.get("/stats").json()["resources"] == 7 and served.children("worker") == workers
    finally:
        (sql / "resources" / "x.sql").unlink()
        (sql / "resources" / "hello.sql").write_text(HELLO)


def test_a_wrong_configuration_keeps_what_ran(served):
    workers, file = two_workers(served), served.dir / "larder.conf"
    right = file.read_text()
    try:
        file.write_text(right + "[server]\npool = none\n[nothing]\n")
        said = reload(served, "reload_refused")
        assert "`pool`" in said and "[nothing]" in said
        assert served.children("worker") == workers and served.get("/api/stocks/AAPL").status_code == 200
    finally:
        file.write_text(right)


@pytest.mark.parametrize("setting", ["[server]\nallow_users = www-dta\n", "[redis]\ndatabase = 1\n[server]\ngroup = no-such-group\n"])
def test_a_configuration_that_names_nobody_keeps_what_ran(served, setting):
    workers, file = two_workers(served), served.dir / "larder.conf"
    right = file.read_text()
    try:
        file.write_text(right + setting)
        assert "on this system" in reload(served, "reload_refused")
        assert served.children("worker") == workers and served.get("/api/stocks/AAPL").status_code == 200
    finally:
        file.write_text(right)


def test_a_right_configuration_changes_what_runs(served):
    file = served.dir / "larder.conf"
    right = file.read_text()
    served.wait_for_trust()
    served.get("/api/stocks/AAPL")
    assert served.get("/api/stocks/AAPL").headers["X-Cache"] == "HIT"
    try:
        file.write_text(right.replace("workers = 2", "workers = 3\nmax_body = 4K") + "[auth]\nadmin_token = another-token-than-before\n[redis]\ncache_version = 2\n")
        file.write_text(file.read_text().replace(f"admin_token_file = {served.dir}/admin-token\n", ""))
        served.reload()
        wait_for("three workers", lambda: len(served.children("worker")) == 3)
        assert served.get("/api/stocks/AAPL").headers["X-Cache"] == "MISS"
        assert_problem(served.request("GET", "/api/cache/status", admin=True), 401)
        admin = {"Authorization": "Bearer another-token-than-before"}
        assert served.request("GET", "/api/cache/status", headers=admin).status_code == 200
        assert_problem(served.request("PUT", "/api/stocks/BIG", headers=admin, json={"name": "x" * 5000}), 413)
    finally:
        file.write_text(right)
        served.reload()
        two_workers(served)
    assert served.get("/api/stocks/AAPL").status_code == 200


def test_a_new_migration_is_applied_on_reload(served, sql):
    (sql / "migrations" / "0004-colours.sql").write_text("CREATE TABLE colours (name TEXT PRIMARY KEY) STRICT;\nINSERT INTO colours VALUES ('red'), ('green');\n")
    (sql / "resources" / "colours.sql").write_text("-- name: colours\n-- route: GET /api/colours\n-- key: colours\n-- ttl: 5m\n-- shape: list\nSELECT name FROM colours ORDER BY name;\n")
    assert served.larder("check").returncode == 0
    served.reload()
    assert served.get("/stats").json()["resources"] == 8
    answer = served.get("/api/colours")
    assert answer.json() == {"items": [{"name": "green"}, {"name": "red"}], "count": 2}
    assert served.request("PUT", "/api/stocks/AFTER", admin=True, json={"name": "After", "sector": "Afters"}).status_code == 200


def test_a_wrong_migration_on_reload_keeps_what_ran(served, sql):
    (sql / "migrations" / "0005-wrong.sql").write_text("CREATE TABLE more (a INTEGER);\nINSERT INTO nowhere VALUES (1);\n")
    try:
        assert "0005-wrong.sql:2:" in reload(served, "reload_refused")
        assert served.get("/api/stocks/AAPL").status_code == 200
        assert served.request("PUT", "/api/stocks/AFTER", admin=True, json={"name": "After", "sector": "Afters"}).status_code == 200
    finally:
        (sql / "migrations" / "0005-wrong.sql").unlink()


def test_a_migration_that_fails_on_the_data_keeps_what_ran(served, sql):
    """It passes the check, which has the schema alone; that it fails is the new writer's to find."""
    def put(ticker, name="Twins"):
        return served.request("PUT", f"/api/stocks/{ticker}", admin=True, json={"name": name, "sector": "Afters"}).status_code

    def colours():
        assert served.request("POST", "/api/cache/invalidate", admin=True, json={"pattern": "colours"}).status_code == 200
        return served.get("/api/colours").json().get("items")

    migrations, resource = sql / "migrations", sql / "resources" / "colours.sql"
    assert put("TWIN1") == put("TWIN2") == 200
    before = served.get("/api/stocks/AAPL").json()
    workers = two_workers(served)
    (migrations / "0005-drop.sql").write_text("ALTER TABLE colours RENAME TO paints;\n")
    (migrations / "0006-one-name.sql").write_text("-- each name once\nCREATE UNIQUE INDEX stocks_one_name ON stocks (name);\n")
    resource.write_text(resource.read_text().replace("name FROM colours", "name, 1 AS paint FROM paints"))
    try:
        assert served.larder("check").returncode == 0
        said = reload(served, "reload_refused")
        assert "0006-one-name.sql:2:1: UNIQUE constraint failed: stocks.name" in said
        wait_for("a writer", lambda: put("AFTER", "After") == 200)
        assert set(served.children("worker")) == set(workers)
        assert served.get("/api/stocks/AAPL").json() == before
        # All of the migrations or none of them: what ran before finds the tables it knows.
        assert colours() == [{"name": "green"}, {"name": "red"}]
        # Nor does a writer that is started again, for whatever reason, try what the reload did not bring.
        served.kill(*served.children("writer"))
        wait_for("another writer", lambda: put("AFTER", "After") == 200)

        assert served.request("DELETE", "/api/stocks/TWIN2", admin=True).status_code in (200, 204)
        served.reload()
        wait_for("the new resource", lambda: colours() == [{"name": "green", "paint": 1}, {"name": "red", "paint": 1}])
        assert put("TWIN1") == 200 and put("TWIN3") == 409
    finally:
        two_workers(served)


def test_reloads_drop_no_request(served):
    answers = []
    for _ in range(3):
        workers = two_workers(served)
        os.kill(served.larder_pid, signal.SIGHUP)
        wait_for("new workers", lambda: answers.append(served.get("/api/stocks/AAPL").status_code) or (
            len(served.children("worker")) == 2 and not set(workers) & set(served.children("worker"))))
    assert set(answers) == {200}
