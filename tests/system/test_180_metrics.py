"""/metrics: both formats by strict parsers and by Prometheus itself, and that what is documented, alerted on and drawn is really there."""

import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess

import requests
from prometheus_client import openmetrics, parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from conftest import PATIENT, ROOT, SLOW, assert_problem, copy_sql, free_port, wait_for

CONTRIB = ROOT / "contrib"
OPENMETRICS = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
OUTCOMES = {"other", "hit", "stale", "negative", "collapsed", "miss", "stale_on_error", "bypass", "written", "refused", "failed"}


def scrape(stack, accept=None):
    answer = stack.get("/metrics", headers={"Accept": accept} if accept else {})
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store" and answer.headers["Vary"] == "Accept"
    return answer


def samples(stack):
    """Every sample by its name and labels."""
    return {(sample.name, frozenset(sample.labels.items())): sample.value
            for family in parser.text_string_to_metric_families(scrape(stack).text) for sample in family.samples}


def value(stack, name, **labels):
    return samples(stack)[name, frozenset(labels.items())]


def requests_of(stack, resource):
    return {dict(labels)["outcome"]: count for (name, labels), count in samples(stack).items()
            if name == "larder_requests_total" and dict(labels)["resource"] == resource}


def changes(before, after):
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def families(stack):
    """Name, as it stands in the documentation, to type and labels, the histogram's own left out."""
    found = {}
    for family in openmetrics_parser.text_string_to_metric_families(scrape(stack, OPENMETRICS).text):
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        found[name] = (family.type, {label for sample in family.samples for label in sample.labels} - {"le"})
    return found


# The formats.

def test_the_older_format_is_what_one_gets_unasked(stack):
    for accept in (None, "*/*", "text/html, */*;q=0.1", "text/plain", "application/openmetrics-text;version=0.0.1"):
        answer = scrape(stack, accept)
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "# EOF" not in answer.text and list(parser.text_string_to_metric_families(answer.text))


def test_openmetrics_for_whoever_prefers_it(stack):
    for accept in (OPENMETRICS, "application/openmetrics-text"):
        answer = scrape(stack, accept)
        assert answer.headers["Content-Type"] == openmetrics.exposition.CONTENT_TYPE_LATEST.replace("0.0.1", "1.0.0")
        found = {family.name: family for family in openmetrics_parser.text_string_to_metric_families(answer.text)}
        assert found["larder_build"].type == "info" and found["larder_statement_seconds"].unit == "seconds"


def test_promtool_finds_nothing_to_complain_of(stack):
    done = subprocess.run(["promtool", "check", "metrics"], input=scrape(stack).text, text=True, capture_output=True, timeout=30)
    assert done.returncode == 0 and not done.stdout and not done.stderr, done.stdout + done.stderr


def test_head_and_other_methods(stack):
    assert stack.request("HEAD", "/metrics").headers["Content-Type"].startswith("text/plain")
    assert_problem(stack.request("POST", "/metrics"), 405)


# What is counted.

def test_requests_are_counted_by_resource_and_outcome(writable):
    writable.invalidate(tag="stocks")
    before, own, writes = (requests_of(writable, name) for name in ("stock", "(larder)", "stock-put"))
    tiers = samples(writable)
    for path, status in (("AAPL", 200), ("AAPL", 200), ("AAPL", 200), ("NOBODY", 404), ("NOBODY", 404), ("AAPL?no=1", 400)):
        assert writable.get(f"/api/stocks/{path}").status_code == status
    assert writable.request("PUT", "/api/stocks/NEWCO", admin=True, json={"name": "New", "sector": "New"}).status_code == 200
    assert writable.request("PUT", "/api/stocks/NEWCO", admin=True, json={"name": 7}).status_code == 422
    assert writable.request("PUT", "/api/stocks/NEWCO", json={}).status_code == 401
    assert writable.get("/api/nothing-here").status_code == 404
    assert changes(before, requests_of(writable, "stock")) == {"miss": 2, "hit": 2, "negative": 1, "refused": 1}
    assert changes(writes, requests_of(writable, "stock-put")) == {"written": 1, "refused": 2}
    ours = changes(own, requests_of(writable, "(larder)"))
    assert ours["refused"] == 1 and set(ours) == {"refused", "other"}
    after = samples(writable)
    count = {tier: after[key] - tiers[key] for tier in ("l1", "l2", "origin", "write", "other")
             for key in [("larder_request_duration_seconds_count", frozenset({("tier", tier)}))]}
    assert count["l1"] + count["l2"] == 3 and count["origin"] == 2 and count["write"] == 1 and count["other"] >= 3
    hits = sum(after[key] - tiers[key] for key in after if key[0] == "larder_hits_total")
    assert hits == 3


def test_every_combination_is_there_from_the_start_and_no_key_is(writable):
    writable.get("/api/stocks/AAPL")
    text = scrape(writable).text
    assert "AAPL" not in text and "stocks:" not in text
    found = samples(writable)
    assert found["larder_l1_trusted", frozenset()] == found["larder_l2_trusted", frozenset()] == 1
    resources = {dict(labels)["resource"] for name, labels in found if name == "larder_requests_total"}
    assert resources == {"(larder)", "(others)", "stock", "stocks", "stocks-top", "stocks-leaderboard", "stock-put", "stock-delete"}
    for resource in resources:
        assert set(requests_of(writable, resource)) == OUTCOMES


def test_the_documentation_names_what_is_exported(stack):
    rows = re.findall(r"^\| `(larder_\w+)` \| (\w+) \|(.*?)\| (.+) \|$", (ROOT / "docs" / "metrics.md").read_text(), re.M)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}
    assert len(rows) == len(documented)
    assert documented == families(stack)
    outcomes = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", (ROOT / "docs" / "metrics.md").read_text(), re.M)
    assert set(outcomes) == OUTCOMES


def test_a_reload_makes_no_count_fall(make_stack, tmp_path):
    extra = "-- name: extra\n-- route: GET /api/extra\n-- key: extra\n-- shape: value\n-- ttl: 1m\nSELECT 1 AS n;\n"
    sql = copy_sql(tmp_path / "sql", extra=extra)
    stack = make_stack("--l2", "memory", "--sql", sql, "--workers", "1")

    def reload():
        worker = stack.children("worker")
        stack.signal(stack.larder_pid, signal.SIGHUP)
        wait_for("another worker serves", lambda: len(stack.children("worker")) == 1 and stack.children("worker") != worker)

    for _ in range(3):
        assert stack.get("/api/extra").status_code == 200 and stack.get("/api/stocks/AAPL").status_code == 200
    before = {name: requests_of(stack, name) for name in ("extra", "stock")}
    assert before["extra"]["hit"] == before["stock"]["hit"] == 2
    # One goes, and one comes that stands before all others.
    (sql / "resources" / "extra.sql").unlink()
    (sql / "resources" / "a-first.sql").write_text(extra.replace("extra", "a-first"))
    reload()
    assert stack.get("/api/a-first").status_code == 200 and stack.get("/api/extra").status_code == 404
    assert {name: requests_of(stack, name) for name in ("extra", "stock")} == before
    assert requests_of(stack, "a-first")["miss"] == 1 and value(stack, "larder_reloads_total") == 1
    (sql / "resources" / "extra.sql").write_text(extra)
    reload()
    assert stack.get("/api/extra").status_code == 200 and stack.get("/api/stocks/AAPL").status_code == 200
    after = {name: requests_of(stack, name) for name in ("extra", "stock")}
    assert sum(after["extra"].values()) == 4 and sum(after["stock"].values()) == 4


def test_an_outage_shows_and_so_does_its_end(make_stack):
    stack = make_stack("--workers", "1", *PATIENT)
    assert value(stack, "larder_l2_breaker_state", state="closed") == 1
    wait_for("the log is followed", lambda: value(stack, "larder_log_followed") == 1)
    wait_for("it is followed closely", lambda: value(stack, "larder_invalidation_lag_seconds") < 2)
    stack.get("/api/stocks/AAPL")
    stack.kill(stack.redis_pid)
    wait_for("the breaker is open", lambda: value(stack, "larder_l2_breaker_state", state="closed") == 0)
    assert value(stack, "larder_l2_breaker_changes_total", to="open") >= 1
    assert stack.request("PUT", "/api/stocks/AAPL", admin=True, json={"name": "Apple", "sector": "Fruit"}).status_code == 200
    wait_for("a purge waits", lambda: value(stack, "larder_outbox_rows") >= 1)
    wait_for("the lag grows", lambda: value(stack, "larder_invalidation_lag_seconds") > 2)
    assert value(stack, "larder_l1_trusted") == value(stack, "larder_l2_trusted") == value(stack, "larder_log_followed") == 0
    stack.up()
    wait_for("all is well again", lambda: value(stack, "larder_l2_breaker_state", state="closed") == 1
             and value(stack, "larder_outbox_rows") == 0 and value(stack, "larder_invalidation_lag_seconds") < 1
             and value(stack, "larder_l1_trusted") == value(stack, "larder_l2_trusted") == 1)
    assert value(stack, "larder_l2_breaker_changes_total", to="closed") >= 1
    jobs, keys = value(stack, "larder_purge_jobs_done_total"), value(stack, "larder_purge_keys_removed_total")
    stack.get("/api/stocks/AAPL")
    stack.invalidate(pattern="stocks:*")
    wait_for("the job is done", lambda: value(stack, "larder_purge_jobs_done_total") == jobs + 1
             and value(stack, "larder_purge_keys_removed_total") > keys)
    wait_for("no ban is left", lambda: value(stack, "larder_bans") == 0)


def test_what_can_be_measured_is(stack):
    stack.get("/api/stocks/AAPL")
    found = samples(stack)
    workers = sum(count for (name, _), count in found.items() if name == "larder_workers")
    assert workers == len(stack.children("worker"))
    # The writer may be about to write something of its own.
    wait_for("the sizes are those of the files", lambda: value(stack, "larder_database_bytes") == os.stat(stack.database).st_size
             and value(stack, "larder_wal_bytes", of="database") == os.stat(stack.database + "-wal").st_size)
    assert 0 < value(stack, "larder_l1_used_bytes") < value(stack, "larder_l1_size_bytes") and value(stack, "larder_l1_entries") >= 1
    assert value(stack, "larder_resources") == 6 and value(stack, "larder_writer_ready") == 1
    assert abs(value(stack, "larder_start_time_seconds") - os.stat(f"/proc/{stack.larder_pid}").st_mtime) < 60


def test_a_slow_request_keeps_a_worker_busy(make_stack, tmp_path):
    stack = make_stack("--l2", "memory", "--sql", copy_sql(tmp_path / "sql", slow=SLOW), "--workers", "2")
    assert value(stack, "larder_workers", state="idle") == 2
    asked = 0
    with concurrent.futures.ThreadPoolExecutor() as pool:
        def is_seen():
            """Whether one that has been asked for now is seen while it is under way: it may be over before anybody looks."""
            nonlocal asked
            asked += 1
            slow, seen = pool.submit(requests.get, f"{stack.url}/api/slow?steps=10000000", timeout=60), False
            while not slow.done() and not seen:
                found = samples(stack)
                seen = all(found[name, frozenset({("state", state)})] == 1 for name, state in (
                    ("larder_workers", "busy"), ("larder_pool_threads", "busy"), ("larder_requests_under_way", "working")))
            assert slow.result().status_code == 200
            return seen
        wait_for("it is seen", is_seen)
    wait_for("it is over", lambda: value(stack, "larder_workers", state="idle") == 2)
    assert requests_of(stack, "slow")["bypass"] == asked
    assert value(stack, "larder_request_duration_seconds_sum", tier="origin") > 0.1


def test_stats_has_the_same_as_json(writable):
    writable.get("/api/stocks/AAPL")
    stats = writable.get("/stats").json()
    assert stats["by_resource"]["stock"] == requests_of(writable, "stock")
    latency = stats["latency"]
    for tier in ("l1", "l2", "origin", "write", "other"):
        histogram = latency[tier]
        assert histogram["count"] == sum(histogram["buckets"]) and len(histogram["buckets"]) == len(latency["bounds_us"]) + 1
        assert histogram["p50_us"] <= histogram["p95_us"] <= histogram["p99_us"] <= latency["bounds_us"][-1]
    assert latency["origin"]["count"] > 0 and latency["origin"]["p50_us"] > 0
    counters = stats["counters"]
    assert counters["hits_l1"] + counters["hits_l2"] <= counters["hits"] + counters["stale_hits"] + counters["negative_hits"]
    rates = writable.request("GET", "/api/cache/status", admin=True).json()
    assert rates["misses"] == counters["misses"] and 0 <= rates["hit_rate"] <= 1


# The rules and the dashboard.

def dashboard():
    """Every expression of the dashboard, with its panel's title."""
    board = json.loads((CONTRIB / "grafana" / "larder.json").read_text())
    found = [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", [])]
    found += [(note["name"], note["expr"]) for note in board["annotations"]["list"]]
    assert len(found) > 40
    return found


def test_what_rules_and_dashboard_name_is_exported(stack):
    exported = {name for name, _ in samples(stack)}
    text = (CONTRIB / "prometheus" / "larder-rules.yml").read_text()
    named = set(re.findall(r"\blarder_\w+", "\n".join(re.findall(r"expr: (?:>-\n(?:\s+.*\n)+?(?=\s+(?:for|labels|- )|\n)|.*)", text))))
    assert len(named) > 10 and named <= exported, named - exported
    named = {name for _, expression in dashboard() for name in re.findall(r"\blarder_\w+", expression)}
    assert named <= exported, named - exported
    tested = set(re.findall(r"series: '(larder_\w+)", (CONTRIB / "prometheus" / "larder-rules-test.yml").read_text()))
    assert len(tested) > 10 and tested <= exported, tested - exported


def test_promtool_accepts_the_rules_and_their_tests():
    for arguments in (("check", "rules", "larder-rules.yml"), ("test", "rules", "larder-rules-test.yml"), ("check", "config", "prometheus.yml")):
        done = subprocess.run(["promtool", *arguments], cwd=CONTRIB / "prometheus", text=True, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    alerts = set(re.findall(r"alert: (\w+)", (CONTRIB / "prometheus" / "larder-rules.yml").read_text()))
    tests = (CONTRIB / "prometheus" / "larder-rules-test.yml").read_text().split("each trouble raises its own")
    assert all(set(re.findall(r"alertname: (\w+)", part)) == alerts for part in tests)


@contextlib.contextmanager
def prometheus(stack, directory):
    """A Prometheus by the sample configuration, which looks each second; yields a function that asks its API."""
    port = free_port()
    shutil.copy(CONTRIB / "prometheus" / "larder-rules.yml", directory)
    sample = (CONTRIB / "prometheus" / "prometheus.yml").read_text()
    assert sample.count("15s") == 2 and sample.count("127.0.0.1:80") == 1
    (directory / "prometheus.yml").write_text(sample.replace("15s", "1s").replace("127.0.0.1:80", f"127.0.0.1:{stack.port}"))
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
                                    f"--web.listen-address=127.0.0.1:{port}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ask(path, **parameters):
        answer = requests.get(f"http://127.0.0.1:{port}/api/v1/{path}", params=parameters, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    try:
        def ready():
            with contextlib.suppress(OSError):
                return requests.get(f"http://127.0.0.1:{port}/-/ready", timeout=5).status_code == 200
        wait_for("Prometheus is ready", ready)
        yield ask
    finally:
        process.terminate()
        process.wait(30)


def test_prometheus_scrapes_it_and_the_rules_and_the_dashboard_work_there(stack, tmp_path):
    with prometheus(stack, tmp_path) as ask:
        def query(expression):
            return ask("query", query=expression)["result"]

        stack.get("/api/stocks/AAPL")
        before = requests_of(stack, "stock")["hit"]
        wait_for("it has looked", lambda: [result["value"][1] for result in query('up{job="larder"}')] == ["1"])
        for _ in range(7):
            stack.get("/api/stocks/AAPL")
        wait_for("it has seen the hits", lambda: [float(result["value"][1]) for result in query(
            'larder_requests_total{resource="stock",outcome="hit"}')] == [before + 7])
        # It gives an answer no more than a second, and what was not answered by then is not there for a while.
        def is_up():
            target = ask("targets")["activeTargets"][0]
            return target["health"] == "up" and target["lastError"] == "" and target["labels"]["job"] == "larder"
        wait_for("the target is up", is_up)
        wait_for("the buckets are there", lambda: len(query("larder_request_duration_seconds_bucket")) == 5 * 20)
        version = stack.get("/stats").json()["version"]
        wait_for("the version is there", lambda: [result["metric"]["version"] for result in query("larder_build_info")] == [version])
        for title, expression in dashboard():
            text = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
            wait_for(f"{title}: {expression}", lambda text=text: query(text) or "> 0" in text)

        def rules():
            found = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
            return found if all(rule["health"] == "ok" for rule in found) else None
        assert len(wait_for("the rules were evaluated", rules)) == 15
        wait_for("they have a result", lambda: query("larder:hit_ratio:rate5m"))
