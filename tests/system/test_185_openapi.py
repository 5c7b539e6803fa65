"""The description of all routes: that it is what it says it is, that it is true, and that clients can be made from it."""

import contextlib
import http.server
import json
import os
import shutil
import subprocess
import threading

import pytest
import requests

from conftest import PATIENT, ROOT, assert_problem, copy_sql, wait_for

NPM = ROOT / "tests" / "system" / "npm"

BOARDS = "\n[board.arena]\nmode = best\ndoc = Wins.\n[board.daily]\nperiod = daily\n"


@pytest.fixture(scope="module")
def packages():
    """Where the packages of tests/system/npm are installed."""
    result = subprocess.run([NPM / "install"], text=True, capture_output=True, timeout=280, check=False)
    if result.returncode == 77:
        pytest.skip(result.stderr.strip().splitlines()[-1])
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def workshop(packages, tmp_path):
    """A directory with the tests' programs and packages in it; a function that runs a command there."""
    for file in NPM.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "node_modules").symlink_to(os.path.join(packages, "node_modules"))

    def run(*command, **environment):
        return subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=120, check=False,
                              env={**os.environ, **environment})
    run.dir = tmp_path
    return run


@pytest.fixture(scope="module")
def described(make_session_stack, tmp_path_factory):
    """A stack with boards, and resources of every kind."""
    sql = copy_sql(tmp_path_factory.mktemp("openapi") / "sql")
    for number, example in enumerate(("feedback", "metrics", "backfill"), start=4):
        for file in (ROOT / "sql" / "examples" / example).glob("[mr]*s/*.sql"):
            shutil.copy(file, sql / file.parent.name / file.name.replace("0001", f"{number:04}"))
    stack = make_session_stack("--sql", sql, *PATIENT)
    with open(stack.dir / "larder.conf", "a", encoding="utf-8") as file:
        file.write(BOARDS)
    stack.reload()
    return stack


def document_of(stack):
    answer = stack.get("/openapi.json")
    assert answer.status_code == 200, answer.text
    return answer.json()


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def resolve(document, it):
    while "$ref" in it:
        found = document
        for step in it["$ref"][2:].split("/"):
            found = found[step]
        it = found
    return it


def test_the_document_is_served_like_any_other(described):
    answer = described.get("/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-cache"
    etag = answer.headers["ETag"]
    again = described.get("/openapi.json", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    head = described.request("HEAD", "/openapi.json", headers={"Accept-Encoding": "identity"})
    assert head.status_code == 200 and head.headers["ETag"] == etag
    document = answer.json()
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"] == "larder"
    assert document["info"]["version"] == described.get("/stats").json()["version"]
    assert_problem(described.request("DELETE", "/openapi.json", admin=True), 405)


def test_the_command_prints_the_same(described):
    assert json.loads(described.larder("openapi").stdout) == document_of(described)
    assert described.larder("openapi", "more", check=False).returncode == 2


def test_the_document_changes_with_the_resources(make_stack, tmp_path):
    sql = copy_sql(tmp_path / "sql")
    stack = make_stack("--sql", sql)
    before = stack.get("/openapi.json")
    (sql / "resources" / "count.sql").write_text(
        "-- name: count\n-- route: GET /api/count\n-- shape: value\n-- key: count\n-- ttl: 1m\n"
        "SELECT count(*) AS n FROM stocks;\n")
    stack.reload()
    after = stack.get("/openapi.json", headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200 and after.headers["ETag"] != before.headers["ETag"]
    assert after.json()["paths"]["/api/count"]["get"]["operationId"] == "count"


# What to put where a built-in route has no example.
VALUES = {"board": "arena", "member": "ada", "key": "none", "id": "1", "receipt": "1-0", "url": "/"}


def example_of(parameter):
    return parameter.get("example", VALUES.get(parameter["name"]))


def fill(document, path, operation):
    """PATH with its places filled, and the parameters of the query that must be there."""
    query = {}
    for it in (resolve(document, it) for it in operation["parameters"]):
        if it["in"] == "path":
            path = path.replace("{" + it["name"] + "}", str(example_of(it)))
        elif it["in"] == "query" and it["required"]:
            query[it["name"]] = example_of(it)
    return path, query


def beyond_and_within(schema):
    """Values that SCHEMA does not allow, and such as it only just does."""
    beyond, within = [], []
    if "minimum" in schema:
        beyond.append(schema["minimum"] - 1)
        within.append(schema["minimum"])
    if "maximum" in schema:
        beyond.append(schema["maximum"] + 1)
        within.append(schema["maximum"])
    if schema["type"] in ("integer", "number"):
        beyond.append("x")
    if "enum" in schema:
        beyond.append("no such choice")
        within += schema["enum"]
    elif schema["type"] == "string":
        beyond.append("x" * (schema["maxLength"] + 1))
    return beyond, within


def test_limits_are_what_they_are_said_to_be(described):
    """What is beyond a limit is refused, and the limit itself is not, for every parameter of every route that reads."""
    document, tried = document_of(described), 0
    for path, method, operation in operations(document):
        if method != "get":
            continue
        url, needed = fill(document, path, operation)

        def ask(name, value, url=url, needed=needed):
            return described.request("GET", url, admin=True, params={**needed, name: value})
        for it in (resolve(document, it) for it in operation["parameters"]):
            beyond, within = beyond_and_within(it["schema"]) if it["in"] == "query" else ([], [])
            for value in beyond:
                assert_problem(ask(it["name"], value), 400)
            for value in within:
                answer = ask(it["name"], value)
                assert answer.status_code in (200, 404), (url, it["name"], value, answer.text)
            tried += len(beyond) + len(within)
        if "400" in operation["responses"]:
            assert_problem(ask("no_such_parameter", 1), 400)
    assert tried > 80


def test_examples_can_be_asked_for(described):
    document, asked = document_of(described), 0
    for path, method, operation in operations(document):
        given = [resolve(document, it) for it in operation["parameters"]]
        if method != "get" or not any("example" in it for it in given if it["in"] != "header"):
            continue
        url, _ = fill(document, path, operation)
        query = {it["name"]: it["example"] for it in given if it["in"] == "query" and "example" in it}
        answer = described.get(url, params=query)
        assert answer.status_code in (200, 404), answer.text
        asked += 1
    assert asked > 8


def test_tokens_are_asked_for_where_it_is_said(described):
    document, asked = document_of(described), 0
    for path, method, operation in operations(document):
        url, _ = fill(document, path, operation)
        answer = described.request(method.upper(), url, json={} if method in ("post", "put", "patch") else None)
        assert (answer.status_code == 401) == bool(operation["security"]), (method, path, answer.text)
        asked += answer.status_code == 401
    assert asked > 10


def ask_everything(stack):
    """Real answers of as many routes as can be asked, for the schemas to be held against."""
    answers = []

    def ask(method, path, described_as=None, **options):
        answer = stack.request(method, path, admin=True, **options)
        answers.append({"method": method.lower(), "path": described_as or path.split("?")[0], "status": answer.status_code,
                        "body": answer.json() if answer.content else None})
        return answer

    ask("PUT", "/api/stocks/ZZZ", "/api/stocks/{ticker}", json={"name": "Z", "sector": "End"})
    ask("GET", "/api/stocks/ZZZ", "/api/stocks/{ticker}")
    ask("GET", "/api/cache/key/stocks:detail:ZZZ", "/api/cache/key/{key}")
    ask("DELETE", "/api/cache/key/stocks:detail:ZZZ", "/api/cache/key/{key}")
    ask("PUT", "/api/stocks/ZZZ", "/api/stocks/{ticker}", json={"name": 1})
    ask("DELETE", "/api/stocks/ZZZ", "/api/stocks/{ticker}")
    ask("DELETE", "/api/stocks/ZZZ", "/api/stocks/{ticker}")
    ask("GET", "/api/stocks/ZZZ", "/api/stocks/{ticker}")
    for path in ("/api/stocks/?limit=5", "/api/stocks/top", "/api/stocks/leaderboard/top", "/api/stocks/?limit=0", "/healthz",
                 "/readyz", "/stats", "/openapi.json", "/api/cache/status", "/api/cache/keys?limit=5", "/api/leaderboards",
                 "/api/cache/explain?url=/api/stocks/AAPL", "/api/writes"):
        ask("GET", path)
    for body in ({"tag": "stocks"}, {"pattern": "stocks:list:*"}, {"key": "a", "dry_run": True}, {"key": "a", "tag": "b"}):
        answer = ask("POST", "/api/cache/invalidate", json=body)
        if "job" in answer.text and answer.status_code == 200:
            ask("GET", f"/api/cache/jobs/{answer.json()['job']}", "/api/cache/jobs/{id}")
    ask("POST", "/api/cache/warm", json={"urls": ["/api/stocks/AAPL", "/nowhere"]})
    ask("POST", "/api/cache/clear")
    scores = "/api/leaderboards/{board}/scores"
    ask("POST", "/api/leaderboards/arena/scores", scores, json={"member": "ada", "score": 12.5})
    ask("POST", "/api/leaderboards/daily/scores", scores, json={"scores": [{"member": "ada", "score": 1}], "mode": "sum"})
    ask("POST", "/api/leaderboards/arena/scores", scores, json={"member": "ada"})
    ask("GET", "/api/leaderboards/arena/top", "/api/leaderboards/{board}/top")
    ask("GET", "/api/leaderboards/daily/top", "/api/leaderboards/{board}/top")
    ask("GET", "/api/leaderboards/arena/ada", "/api/leaderboards/{board}/{member}")
    ask("GET", "/api/leaderboards/arena/nobody", "/api/leaderboards/{board}/{member}")
    ask("GET", "/api/leaderboards/arena/ada/around", "/api/leaderboards/{board}/{member}/around")
    ask("GET", "/api/leaderboards/daily/periods", "/api/leaderboards/{board}/periods")
    ask("DELETE", "/api/leaderboards/arena/ada", "/api/leaderboards/{board}/{member}")
    return answers


def test_the_document_is_valid_and_true(described, workshop):
    answers = ask_everything(described)
    assert {200, 400, 404, 422} <= {it["status"] for it in answers}
    document = document_of(described)
    (workshop.dir / "document.json").write_text(json.dumps(document))
    (workshop.dir / "answers.json").write_text(json.dumps(answers))
    result = workshop("node", "document.mjs", "document.json", "answers.json")
    assert (result.returncode, result.stdout) == (0, ""), result.stdout + result.stderr
    # The judge judges.
    document["paths"]["/healthz"]["get"]["responses"]["200"]["content"]["application/json"]["schema"] = {"type": "array"}
    document["paths"]["/readyz"]["get"]["responses"]["200"].pop("description")
    (workshop.dir / "document.json").write_text(json.dumps(document))
    result = workshop("node", "document.mjs", "document.json", "answers.json")
    assert "the document is not valid" in result.stdout and "get /healthz 200 is not what is described" in result.stdout


def test_a_generated_client_works(make_stack, workshop):
    stack = make_stack(*PATIENT)
    (workshop.dir / "openapi.json").write_text(stack.larder("openapi").stdout)
    generate = ["openapi-typescript", "openapi.json", "--output", "larder.d.ts", "--default-non-nullable=false"]
    assert " ".join(generate) in (ROOT / "docs" / "openapi.md").read_text()
    for program, *arguments in (generate, ["tsc", "--project", "tsconfig.json"]):
        result = workshop(f"node_modules/.bin/{program}", *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
    result = workshop("node", "built/client.js", LARDER_URL=stack.url, LARDER_TOKEN=stack.admin_token)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told == {
        "put": [200, "ZZTOP", 12.5],
        "read": [200, "ZZTOP", 12.5, "MISS"],
        "again": 304,
        "changed": [412, 412, "string"],
        "list": [200, 3, 3],
        "removed": [200, "ZZTOP"],
        "absent": [404, "Not Found"],
        "purged": [200, None],
        "denied": [401, 401],
        "keys": [200, [], 0],
    }


@contextlib.contextmanager
def pages_before(stack):
    """A web server that has the pages of dashboard/, and everything else from STACK."""
    types = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/dashboard/"):
                file = ROOT / "dashboard" / self.path.split("/")[-1]
                found = file.is_file()
                status, body = (200, file.read_bytes()) if found else (404, b"")
                headers = {"Content-Type": types.get(file.suffix, "text/plain") + "; charset=utf-8",
                           "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                                                      "img-src 'self'; require-trusted-types-for 'script'"}
            else:
                token = self.headers.get("Authorization")
                answer = requests.get(stack.url + self.path, headers={"Authorization": token} if token else {}, timeout=30)
                status, body, headers = answer.status_code, answer.content, {
                    name: answer.headers[name] for name in ("Content-Type", "X-Cache", "Cache-Status") if name in answer.headers}
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed")
    if not os.path.exists("/usr/bin/chromedriver"):
        pytest.skip("chromium-driver is not installed")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-sandbox", "--window-size=1100,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(service=webdriver.chrome.service.Service("/usr/bin/chromedriver"), options=options)
    try:
        yield driver
    finally:
        driver.quit()


def test_a_page_shows_the_document_and_tries_its_routes(described):
    document = document_of(described)
    with pages_before(described) as url, browser() as driver:
        driver.get(url + "/dashboard/docs.html#stock")

        def find(selector):
            return driver.find_elements("css selector", selector)
        wait_for("the routes are shown", lambda: find("details"))
        assert len(find("details")) == len(list(operations(document)))
        wait_for("the named one is open", lambda: find("#stock form"))
        # By the keyboard alone: the example is there already.
        assert find("#stock input")[0].get_attribute("value") == "AAPL"
        find("#stock input")[0].send_keys("\ue007")
        wait_for("it has been asked", lambda: find("#stock form + div pre"))
        assert '"ticker": "AAPL"' in find("#stock form + div pre")[0].text and "x-cache:" in find("#stock form + div pre")[0].text
        find("#find")[0].send_keys("explain")
        wait_for("others are hidden", lambda: [it.get_attribute("id") for it in find("details") if it.is_displayed()] == ["explain"])
        find("#explain summary")[0].send_keys("\ue007")
        wait_for("it is open", lambda: find("#explain form"))
        find("#token")[0].send_keys(described.admin_token)
        find("#explain input")[0].send_keys("/api/stocks/AAPL\ue007")
        wait_for("it has been asked", lambda: find("#explain form + div pre"))
        assert '"decision": "hit' in find("#explain form + div pre")[0].text
        wide = driver.execute_script("return document.documentElement.scrollWidth > innerWidth")
        errors = [it["message"] for it in driver.get_log("browser") if it["level"] == "SEVERE"]
        assert not wide and [it for it in errors if "icon" not in it] == []
        for scheme in ("light", "dark"):
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
            if os.environ.get("SCREENSHOTS"):
                driver.save_screenshot(f"{os.environ['SCREENSHOTS']}/docs-{scheme}.png")
        dark = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert dark == "rgb(12, 16, 20)"
