"""The examples of sql/examples, each served as it is: every route, what is cached, what purges it, what is refused."""

import concurrent.futures
import datetime
import re
import shutil
import sqlite3
import time

import pytest
import requests

from conftest import PATIENT, ROOT, assert_problem, copy_sql, wait_for

EXAMPLES = ROOT / "sql" / "examples"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
RESOURCES = sorted(EXAMPLES.glob("*/resources/*.sql"))


def parts(text):
    """The statements of a file of SQL, one by one."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def schema(name):
    """An empty database of that example."""
    db = sqlite3.connect(":memory:")
    for migration in sorted((EXAMPLES / name / "migrations").glob("*.sql")):
        db.executescript(migration.read_text())
    return db


def plan(db, text):
    """What SQLite would do for the statements of a resource, step by step."""
    steps = []
    for statement in parts(text):
        values = dict.fromkeys(re.findall(r":([a-z_]+)", statement), 1)
        steps += [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    return steps


def indexes(steps):
    return {name for step in steps for name in re.findall(r"USING (?:COVERING )?INDEX (\w+)", step)}


def seconds(text):
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()


def cached(stack, path):
    return stack.get(path).headers["X-Cache"]


def write(stack, method, path, **members):
    return stack.request(method, path, admin=True, json=members)


def write_csv(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


# All of them.

def test_the_three_examples_are_there():
    assert NAMES == ["backfill", "feedback", "metrics"]


def test_every_file_is_installed():
    listed = (ROOT / "Makefile.am").read_text().replace("\\\n", " ").split()
    assert [path for path in EXAMPLES.rglob("*") if path.is_file() and str(path.relative_to(ROOT)) not in listed] == []


@pytest.mark.parametrize("name", NAMES)
def test_check_finds_nothing_wrong(request, name):
    result = request.getfixturevalue(name).larder("check")
    assert result.stderr == "" and "nothing is wrong" in result.stdout


@pytest.mark.parametrize("path", RESOURCES, ids=lambda path: path.stem)
def test_no_statement_looks_at_every_row(path):
    db = schema(path.parts[-3])
    tables = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    assert not [step for step in plan(db, path.read_text()) if re.match(r"SCAN (\w+)", step) and step.split()[1] in tables]


@pytest.mark.parametrize("name", NAMES)
def test_every_index_is_used_or_guards_something(name):
    db = schema(name)
    made = {row[1]: row[2] for table in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            for row in db.execute(f"PRAGMA index_list({table[0]})") if row[3] == "c"}
    used = set().union(*(indexes(plan(db, path.read_text())) for path in RESOURCES if path.parts[-3] == name))
    assert used <= made.keys() and all(unique for index, unique in made.items() if index not in used)


@pytest.mark.parametrize("path", RESOURCES, ids=lambda path: path.stem)
def test_the_readme_names_every_route(path):
    route = re.search(r"^-- route: +(.*)$", path.read_text(), re.MULTILINE)[1]
    assert route in (path.parents[1] / "README.md").read_text()


def test_all_of_them_can_be_copied_into_a_directory_that_is_served(make_stack, tmp_path):
    sql = copy_sql(tmp_path / "sql")
    stack = make_stack("--sql", sql)
    number = len(list((sql / "migrations").glob("*.sql")))
    for number, name in enumerate(NAMES, number + 1):
        for file in EXAMPLES.glob(f"{name}/*/*.sql"):
            target = re.sub(r"^0001", f"{number:04}", file.name) if file.parent.name == "migrations" else file.name
            shutil.copy(file, sql / file.parent.name / target)
    assert stack.larder("check").stderr == ""
    assert_problem(stack.get("/api/backfill/jobs"), 404)
    stack.reload()
    assert stack.get("/api/backfill/jobs").status_code == 200
    assert stack.get("/api/metrics/web/hits/recent").status_code == stack.get("/api/stocks/AAPL").status_code == 200
    assert stack.get("/api/feedback/rain/comments").json() == {"items": [], "count": 0}


# Feedback.

@pytest.fixture(scope="module")
def feedback(make_session_stack, tmp_path_factory):
    stack = make_session_stack("--sql", EXAMPLES / "feedback", *PATIENT)
    file = write_csv(tmp_path_factory.mktemp("feedback") / "insights.csv", "ID,Title", "Rain,It rains", "snow,It snows", "hail,It hails")
    assert stack.larder("import", "insights", file).stdout == "3 rows imported\n"
    return stack


def give(stack, insight, reader, **said):
    answer = write(stack, "POST", f"/api/feedback/{insight}", reader=reader, **said)
    assert answer.status_code == 201, answer.text
    return answer.json()


def stats(stack, insight):
    return stack.get(f"/api/feedback/{insight}/stats").json()


def test_an_insight_without_feedback_has_zeros_and_one_that_is_not_there_404(feedback):
    assert stats(feedback, "hail") == {
        "insight": "hail", "title": "It hails", "readers": 0, "up": 0, "down": 0, "approval": None, "ratings": 0, "rating": None,
        "spread": dict.fromkeys("12345", 0), "comments": 0, "latest": None}
    assert_problem(feedback.get("/api/feedback/fog/stats"), 404)
    assert cached(feedback, "/api/feedback/fog/stats") == "NEGATIVE"


def test_statistics_are_what_readers_said(feedback):
    said = give(feedback, "rain", "ann", vote="up", rating=5, comment="Yes")
    assert said == {"insight": "rain", "reader": "ann", "vote": "up", "rating": 5, "comment": "Yes", "given": said["given"]}
    give(feedback, "rain", "ben", vote="up", rating=2)
    give(feedback, "rain", "cem", vote="down")
    latest = give(feedback, "rain", "dea", comment="Hm")["given"]
    assert stats(feedback, "rain") == {
        "insight": "rain", "title": "It rains", "readers": 4, "up": 2, "down": 1, "approval": 0.667, "ratings": 2, "rating": 3.5,
        "spread": {"1": 0, "2": 1, "3": 0, "4": 0, "5": 1}, "comments": 2, "latest": latest}


def test_feedback_purges_the_statistics_of_that_insight_and_of_no_other(feedback):
    paths = [f"/api/feedback/{insight}/{what}" for insight in ("rain", "snow") for what in ("stats", "comments", "comments?limit=3")]
    for path in paths:
        feedback.get(path)
    assert [cached(feedback, path) for path in paths] == ["HIT"] * 6
    give(feedback, "RAIN", "eva", vote="down", comment="No")
    assert stats(feedback, "rain")["down"] == 2
    assert [cached(feedback, path) for path in paths[1:]] == ["MISS"] * 2 + ["HIT"] * 3
    assert feedback.request("DELETE", "/api/feedback/rain/eva", admin=True).status_code == 204
    assert stats(feedback, "rain")["down"] == 1
    assert [cached(feedback, path) for path in paths[1:]] == ["MISS"] * 2 + ["HIT"] * 3


def test_statistics_have_the_key_that_is_promised(feedback):
    for insight in ("snow", "SNOW", "Snow"):
        feedback.get(f"/api/feedback/{insight}/stats")
    assert feedback.keys("feedback:stats:s*") == ["feedback:stats:snow"]


def test_a_reader_has_one_voice_and_may_take_it_back(feedback):
    give(feedback, "snow", "ann", vote="up", rating=5, comment="First")
    give(feedback, "snow", "ann", vote="down")
    assert [stats(feedback, "snow")[name] for name in ("readers", "up", "down", "ratings", "comments")] == [1, 0, 1, 0, 0]
    assert feedback.request("DELETE", "/api/feedback/snow/ann", admin=True).status_code == 204
    assert stats(feedback, "snow")["readers"] == 0
    assert_problem(feedback.request("DELETE", "/api/feedback/snow/ann", admin=True), 404)


def test_comments_come_latest_first_in_pages(feedback):
    for reader in ("a", "b", "c"):
        give(feedback, "hail", reader, comment=f"of {reader}")
    give(feedback, "hail", "d", vote="up")
    whole = feedback.get("/api/feedback/hail/comments").json()
    assert whole["count"] == whole["total"] == 3 and {item["comment"] for item in whole["items"]} == {"of a", "of b", "of c"}
    order = [(-seconds(item["given"]), item["reader"]) for item in whole["items"]]
    assert order == sorted(order)
    page = feedback.get("/api/feedback/hail/comments?limit=2&offset=1").json()
    assert page == {"items": whole["items"][1:], "count": 2, "total": 3}


def test_an_import_of_insights_is_seen_at_once(feedback, tmp_path):
    assert_problem(feedback.get("/api/feedback/dew/stats"), 404)
    stats(feedback, "snow")
    feedback.larder("import", "insights", write_csv(tmp_path / "more.csv", "ID,Title", "dew,There is dew", "snow,It snowed"))
    assert stats(feedback, "dew")["title"] == "There is dew" and stats(feedback, "snow")["title"] == "It snowed"


def test_what_is_discussed_most_is_filled_ahead(feedback):
    give(feedback, "rain", "fay", vote="up")
    feedback.larder("warm")
    assert cached(feedback, "/api/feedback/rain/stats") == "HIT"


@pytest.mark.parametrize("body, status, words", [
    ({"reader": "z", "vote": "sideways"}, 422, "one of up, down"),
    ({"reader": "z", "rating": 6}, 422, "from 1 to 5"),
    ({"reader": "z", "rating": "5"}, 422, "a whole number"),
    ({"reader": "z", "comment": "x" * 1001}, 422, "1000 characters"),
    ({"reader": "z", "comment": ""}, 422, "from 1"),
    ({"reader": "no blanks", "vote": "up"}, 422, "`reader`"),
    ({"vote": "up"}, 422, "`reader` is missing"),
    ({"reader": "z", "vote": "up", "mood": "fine"}, 422, "known here"),
    ({"reader": "z"}, 409, "feedback_says_something"),
    ({"reader": "z", "vote": None, "rating": None}, 409, "feedback_says_something"),
], ids=lambda value: str(value)[:40])
def test_feedback_that_makes_no_sense_is_refused(feedback, body, status, words):
    before = stats(feedback, "rain")
    assert_problem(write(feedback, "POST", "/api/feedback/rain", **body), status, words)
    assert stats(feedback, "rain") == before


def test_feedback_on_nothing_or_by_nobody_is_refused(feedback):
    assert_problem(write(feedback, "POST", "/api/feedback/fog", reader="z", vote="up"), 404)
    assert_problem(write(feedback, "POST", "/api/feedback/-fog", reader="z", vote="up"), 400, "`id`")
    assert_problem(feedback.request("POST", "/api/feedback/rain", json={"reader": "z", "vote": "up"}), 401)
    assert_problem(feedback.get("/api/feedback/rain/comments?limit=101"), 400, "from 1 to 100")


# Backfill.

@pytest.fixture(scope="module")
def backfill(make_session_stack):
    return make_session_stack("--sql", EXAMPLES / "backfill", *PATIENT)


def start(stack, job, **members):
    answer = write(stack, "POST", "/api/backfill/jobs", id=job, **{"source": job, **members})
    assert answer.status_code == 201, answer.text
    return answer.json()


def progress(stack, job, **members):
    answer = write(stack, "PATCH", f"/api/backfill/jobs/{job}", **members)
    assert answer.status_code == 200, answer.text
    return answer.json()


def state(stack, job):
    return stack.get(f"/api/backfill/jobs/{job}").json()


def test_a_job_from_its_beginning_to_its_end(backfill):
    assert_problem(backfill.get("/api/backfill/jobs/whole"), 404)
    told = start(backfill, "whole", total=400)
    assert (told["state"], told["done"], told["percent"], told["started"], told["expected"]) == ("queued", 0, 0, None, None)
    assert state(backfill, "whole") == told
    told = progress(backfill, "whole", done=100)
    assert (told["state"], told["percent"]) == ("running", 25) and told["started"]
    assert state(backfill, "whole") == told
    told = progress(backfill, "whole", done=400, state="done")
    assert (told["state"], told["percent"], told["expected"]) == ("done", 100, None) and told["finished"]
    assert state(backfill, "whole") == told


def test_the_end_is_expected_from_what_was_done_so_far(backfill):
    start(backfill, "long", total=1000)
    progress(backfill, "long", done=0)
    time.sleep(2.1)
    told = progress(backfill, "long", done=200)
    took = seconds(told["updated"]) - seconds(told["started"])
    assert told["per_second"] == pytest.approx(200 / took, abs=0.01)
    assert seconds(told["expected"]) == pytest.approx(seconds(told["updated"]) + 800 * took / 200, abs=1)
    assert state(backfill, "long") == told


def test_a_job_of_unknown_size_has_no_percentage_until_it_is_known(backfill):
    start(backfill, "open")
    told = progress(backfill, "open", done=7)
    assert told["total"] is None and told["percent"] is None and told["expected"] is None
    assert progress(backfill, "open", total=70)["percent"] == 10


def test_progress_purges_that_job_and_no_other(backfill):
    for job in ("one", "two"):
        start(backfill, job, total=10)
    state(backfill, "two")
    for done in range(1, 11):
        state(backfill, "one")
        assert [cached(backfill, f"/api/backfill/jobs/{job}") for job in ("one", "two")] == ["HIT", "HIT"]
        progress(backfill, "one", done=done)
        assert state(backfill, "one")["done"] == done
    state(backfill, "one")
    assert backfill.keys("backfill:job:[ot][nw][eo]") == ["backfill:job:one", "backfill:job:two"]


def test_the_lists_follow_the_states(backfill):
    def listed(name):
        answer = backfill.get(f"/api/backfill/jobs?state={name}&limit=100").json()
        assert answer["count"] == answer["total"]
        return [item["id"] for item in answer["items"]]

    start(backfill, "moves")
    assert "moves" in listed("queued") and "moves" not in listed("running")
    progress(backfill, "moves", done=1)
    assert "moves" not in listed("queued") and "moves" in listed("running")
    progress(backfill, "moves", state="failed", error="the source is gone")
    assert "moves" not in listed("running") and "moves" in listed("failed")
    assert state(backfill, "moves")["error"] == "the source is gone"


def test_a_job_neither_goes_back_nor_changes_after_its_end(backfill):
    start(backfill, "mono", total=100)
    before = progress(backfill, "mono", done=50)
    assert_problem(write(backfill, "PATCH", "/api/backfill/jobs/mono", done=49), 409, "does not go back")
    assert_problem(write(backfill, "PATCH", "/api/backfill/jobs/mono", done=101), 409, "done_is_at_most_total")
    assert_problem(write(backfill, "PATCH", "/api/backfill/jobs/mono", total=49), 409, "done_is_at_most_total")
    assert_problem(write(backfill, "PATCH", "/api/backfill/jobs/mono", state="done"), 409, "a_done_job_has_done_all")
    assert_problem(write(backfill, "PATCH", "/api/backfill/jobs/mono", state="failed"), 409, "has_an_error")
    assert_problem(write(backfill, "PATCH", "/api/backfill/jobs/mono", error="none"), 409, "has_an_error")
    assert state(backfill, "mono") == before
    after = progress(backfill, "mono", state="cancelled")
    for members in ({"done": 60}, {"state": "running"}, {"state": "cancelled"}):
        assert_problem(write(backfill, "PATCH", "/api/backfill/jobs/mono", **members), 409, "an ended job does not change")
    assert state(backfill, "mono") == after


def test_one_job_at_a_time_fills_from_a_source(backfill):
    start(backfill, "first", source="well")
    assert_problem(write(backfill, "POST", "/api/backfill/jobs", id="second", source="well"), 409, "backfill_jobs.source")
    assert_problem(write(backfill, "POST", "/api/backfill/jobs", id="first", source="other"), 409, "backfill_jobs.id")
    assert_problem(backfill.get("/api/backfill/jobs/second"), 404)
    progress(backfill, "first", state="cancelled")
    assert start(backfill, "second", source="well")["state"] == "queued" and state(backfill, "second")["source"] == "well"


@pytest.mark.parametrize("method, path, body, status, words", [
    ("PATCH", "/api/backfill/jobs/nowhere", {"done": 1}, 404, "no such row"),
    ("PATCH", "/api/backfill/jobs/mono", {"done": -1}, 422, "`done`"),
    ("PATCH", "/api/backfill/jobs/mono", {"done": 1.5}, 422, "a whole number"),
    ("PATCH", "/api/backfill/jobs/mono", {"state": "queued"}, 422, "one of running, done, failed, cancelled"),
    ("PATCH", "/api/backfill/jobs/MO%20NO", {"done": 1}, 400, "`id`"),
    ("POST", "/api/backfill/jobs", {"id": "zero", "source": "zero", "total": 0}, 422, "`total`"),
    ("POST", "/api/backfill/jobs", {"id": "a b", "source": "x"}, 422, "`id`"),
    ("POST", "/api/backfill/jobs", {"id": "x"}, 422, "`source` is missing"),
    ("GET", "/api/backfill/jobs?state=lost", None, 400, "one of queued, running"),
], ids=lambda value: str(value)[:40])
def test_what_no_job_can_be_is_refused(backfill, method, path, body, status, words):
    assert_problem(backfill.request(method, path, admin=True, json=body), status, words)


# Metrics.

DAY = 1_767_225_600  # 2026-01-01, 00:00 UTC


@pytest.fixture(scope="module")
def metrics(make_session_stack):
    return make_session_stack("--sql", EXAMPLES / "metrics", *PATIENT)


def measure(stack, series, value, **members):
    """Accepted, and where to ask what became of it."""
    answer = write(stack, "POST", f"/api/metrics/{series}", value=value, **members)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/api/writes/{answer.json()['receipt']}"
    return answer.headers["Location"]


def applied(stack, location):
    def state():
        answer = stack.request("GET", location, admin=True)
        assert answer.status_code == 200, answer.text
        assert answer.json()["state"] != "failed", answer.text
        return answer.json()["state"] == "applied"
    wait_for(f"{location} is applied", state)


def recent(stack, series):
    return [item["value"] for item in stack.get(f"/api/metrics/{series}/recent").json()["items"]]


def aggregate(stack, series, interval="day", start="2026-01-01", end="2026-01-02"):
    return stack.get(f"/api/metrics/{series}/aggregate?interval={interval}&start={start}&end={end}")


def points(stack, series):
    with sqlite3.connect(f"file:{stack.database}?mode=ro", uri=True) as db:
        return db.execute("SELECT value FROM metric_points WHERE service = ? AND type = ? ORDER BY id", series.split("/")).fetchall()


def test_a_point_is_seen_by_the_next_read(metrics):
    today = time.strftime("%Y-%m-%d", time.gmtime())
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86400))
    assert recent(metrics, "web/latency_ms") == []
    for count in range(1, 31):
        location = measure(metrics, "web/latency_ms", count)
        assert recent(metrics, "web/latency_ms") == list(range(count, 0, -1))
        days = aggregate(metrics, "web/latency_ms", "day", today, tomorrow).json()["items"]
        assert sum(day["points"] for day in days) == count and max(day["highest"] for day in days) == count
    applied(metrics, location)
    assert points(metrics, "web/latency_ms") == [(float(count),) for count in range(1, 31)]


def test_a_point_leaves_other_series_alone(metrics):
    paths = [f"/api/metrics/web/{type}/{what}" for type in ("hits", "errors") for what in ("recent", "aggregate?interval=day&start=2026-01-01&end=2026-01-01")]
    for path in paths:
        metrics.get(path)
    assert [cached(metrics, path) for path in paths] == ["HIT"] * 4
    applied(metrics, measure(metrics, "web/hits", 1))
    assert [cached(metrics, path) for path in paths[2:]] == ["HIT"] * 2
    assert recent(metrics, "web/hits") == [1]


def test_entries_have_the_keys_that_are_promised(metrics):
    metrics.get("/api/metrics/Keys/Depth/recent")
    aggregate(metrics, "keys/depth", "hour")
    assert metrics.keys("metrics:keys:*") == ["metrics:keys:depth:agg:hour:2026-01-01:2026-01-02", "metrics:keys:depth:recent"]


def test_hours_and_days_are_the_sums_of_their_points(metrics):
    for at, value in ((DAY, 1), (DAY + 3599, 4), (DAY + 3600, -2.5), (DAY + 86399, 10), (DAY + 86400, 7)):
        location = measure(metrics, "sums/load", value, at=at)
    applied(metrics, location)
    day = {"start": "2026-01-01T00:00:00Z", "points": 4, "average": 3.125, "lowest": -2.5, "highest": 10, "sum": 12.5}
    assert aggregate(metrics, "sums/load", "day", end="2026-01-01").json() == {"items": [day], "count": 1, "total": 1}
    hours = aggregate(metrics, "sums/load", "hour").json()["items"]
    assert [(hour["start"][8:13], hour["points"], hour["average"], hour["lowest"], hour["highest"]) for hour in hours] == [
        ("01T00", 2, 2.5, 1, 4), ("01T01", 1, -2.5, -2.5, -2.5), ("01T23", 1, 10, 10, 10), ("02T00", 1, 7, 7, 7)]
    assert aggregate(metrics, "sums/load", start="2026-01-02", end="2026-01-01").json()["items"] == []


def test_points_of_many_clients_at_once_are_counted_once_each(metrics):
    headers = {"Authorization": f"Bearer {metrics.admin_token}"}

    def send(number):
        session = requests.Session()
        for value in range(25):
            for _ in range(2):
                answer = session.post(f"{metrics.url}/api/metrics/many/hits", json={"value": value, "at": DAY + value}, timeout=30,
                                      headers=headers | {"Idempotency-Key": f"many-{number}-{value}"})
                assert answer.status_code == 202, answer.text

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(8)))
    day = aggregate(metrics, "many/hits", end="2026-01-01").json()["items"][0]
    assert (day["points"], day["sum"], day["lowest"], day["highest"]) == (200, 8 * sum(range(25)), 0, 24)


def test_points_of_the_last_hour_are_recent_and_those_of_last_week_are_gone(metrics):
    now = int(time.time())
    for value, age in ((1, 8 * 86400), (2, 6 * 86400), (3, 3700), (4, 60)):
        location = measure(metrics, "ages/depth", value, at=now - age)
    applied(metrics, location)
    assert recent(metrics, "ages/depth") == [4]
    assert points(metrics, "ages/depth") == [(2.0,), (3.0,), (4.0,)]
    start, end = (time.strftime("%Y-%m-%d", time.gmtime(now - age)) for age in (8 * 86400, 0))
    assert sum(day["points"] for day in aggregate(metrics, "ages/depth", "day", start, end).json()["items"]) == 4


def test_an_import_of_points_is_seen_at_once_and_a_range_too_long_says_so(metrics, tmp_path):
    assert aggregate(metrics, "bulk/size").json()["items"] == []
    file = write_csv(tmp_path / "points.csv", "Service,Type,At,Value", *(f"bulk,size,{DAY + 3600 * hour},{hour}" for hour in range(1001)))
    assert metrics.larder("import", "points", file).stdout == "1001 rows imported\n"
    assert [day["points"] for day in aggregate(metrics, "bulk/size").json()["items"]] == [24, 24]
    hours = aggregate(metrics, "bulk/size", "hour", end="2026-12-31").json()
    assert (hours["count"], hours["total"]) == (1000, 1001)


@pytest.mark.parametrize("body, words", [
    ({"value": "12"}, "a number"),
    ({"value": 1e16}, "from "),
    ({"value": None}, "a number"),
    ({}, "`value` is missing"),
    ({"value": 1, "at": 12}, "`at`"),
    ({"value": 1, "at": 1.5}, "a whole number"),
    ({"value": 1, "unit": "ms"}, "known here"),
], ids=str)
def test_a_point_that_the_database_could_refuse_is_refused_before(metrics, body, words):
    assert_problem(write(metrics, "POST", "/api/metrics/bad/input", **body), 422, words)
    assert recent(metrics, "bad/input") == []


@pytest.mark.parametrize("query, words", [
    ("start=2026-01-01", "`end` is missing"),
    ("start=2026-01-01&end=2026-13-01", "`end`"),
    ("start=1767225600&end=2026-01-01", "`start`"),
    ("start=2026-01-01&end=2026-01-02&interval=week", "one of hour, day"),
    ("start=2026-01-01&end=2026-01-02&step=5", "unknown"),
    ("start=2026-01-01&end=2026-01-02&start=2026-01-01", "more than once"),
], ids=str)
def test_a_range_that_is_none_is_refused(metrics, query, words):
    assert_problem(metrics.get(f"/api/metrics/web/hits/aggregate?{query}"), 400, words)


def test_names_that_are_none_and_points_by_nobody_are_refused(metrics):
    assert_problem(metrics.get("/api/metrics/web/hits-and-more/recent"), 400, "`type`")
    assert_problem(write(metrics, "POST", "/api/metrics/.web/hits", value=1), 400, "`service`")
    assert_problem(metrics.request("POST", "/api/metrics/web/hits", json={"value": 1}), 401)
