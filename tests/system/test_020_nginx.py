"""The nginx files that are shipped: what nginx refuses by itself looks like all other refusals."""

import os
import signal

import requests

from conftest import ROOT, wait_for


def is_problem(answer, status):
    return (answer.status_code == status and answer.headers["Content-Type"] == "application/problem+json"
            and answer.json()["status"] == status and answer.json()["detail"])


def deny_loopback(stack):
    """Makes this machine a stranger to nginx."""
    for name in ("larder-pass.conf", "larder-locations-other.conf"):
        path = stack.dir / "nginx" / name
        path.write_text(path.read_text().replace("allow 127.0.0.1;", ""))
    os.kill(stack.nginx_pid, signal.SIGHUP)


def test_the_socket_stands_many_times_and_never_fails():
    text = (ROOT / "nginx" / "larder.conf").read_text()
    assert text.count("    server unix:/run/larder/larder.sock max_fails=0;\n") == 64


def test_a_body_over_the_outer_bound_is_413(stack):
    assert is_problem(stack.request("PUT", "/api/stocks/AAPL", data=b" " * (9 << 20)), 413)


def test_administration_is_for_the_machine_itself(make_stack):
    stack = make_stack("--l2", "memory")
    assert stack.request("GET", "/api/cache/status", admin=True).status_code == 200
    deny_loopback(stack)
    wait_for("nginx has reloaded", lambda: stack.request("GET", "/api/cache/status", admin=True).status_code == 403)
    for method, path in (("GET", "/api/cache/status"), ("POST", "/api/cache/invalidate"), ("GET", "/api/cache/keys"),
                         ("GET", "/stats"), ("GET", "/metrics"), ("GET", "/dashboard/"), ("GET", "/dashboard/main.js"),
                         ("GET", "/dashboard/lib/chart.js"), ("GET", "/api/%63ache/status"), ("GET", "//api//cache/status"),
                         ("GET", "/api/kv/../cache/status"), ("PURGE", "/api/stocks/AAPL"), ("PURGE", "/elsewhere")):
        # Named by hand, since a client would tidy the path up first.
        answer = stack.http.send(prepared(stack, method, path), timeout=30)
        assert is_problem(answer, 403), (method, path, answer.status_code)
    assert stack.get("/api/stocks/AAPL").status_code == 200
    assert stack.get("/healthz").status_code == 200


def prepared(stack, method, path):
    request = requests.Request(method, stack.url, headers={"Authorization": f"Bearer {stack.admin_token}"}).prepare()
    request.url = stack.url + path
    return request


def test_without_larder_there_is_a_503_to_try_again(make_stack):
    stack = make_stack("--l2", "memory")
    os.kill(stack.larder_pid, signal.SIGTERM)
    wait_for("larder has ended", lambda: stack.get("/healthz").status_code == 503)
    answer = stack.get("/api/stocks/AAPL")
    assert is_problem(answer, 503) and answer.headers["Retry-After"] == "1"
