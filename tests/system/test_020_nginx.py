"""The nginx files that are shipped: what nginx refuses by itself looks like all other refusals, and the rest of a site is left as it was."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading

import pytest
import requests

from conftest import ROOT, assert_problem, children, free_port, running, wait_for


def is_problem(answer, status):
    return (answer.status_code == status and answer.headers["Content-Type"] == "application/problem+json"
            and answer.json()["status"] == status and answer.json()["detail"])


def deny_loopback(stack):
    """Makes this machine a stranger to nginx, and returns when none of its workers knows it any more."""
    workers = [pid for pid, _ in children(stack.nginx_pid)]
    for name in ("larder-pass.conf", "larder-locations-other.conf"):
        path = stack.dir / "nginx" / name
        path.write_text(path.read_text().replace("allow 127.0.0.1;", ""))
    os.kill(stack.nginx_pid, signal.SIGHUP)
    wait_for("nginx has reloaded", lambda: not any(running(pid) for pid in workers))


def test_the_socket_stands_once_for_each_kept_connection_and_once_more():
    text = (ROOT / "nginx" / "larder.conf").read_text()
    kept = int(re.search(r"^ +keepalive (\d+);$", text, re.MULTILINE).group(1))
    assert text.count("    server unix:/run/larder/larder.sock max_fails=0;\n") == kept + 1


def test_a_body_over_the_outer_bound_is_413(stack):
    assert is_problem(stack.request("PUT", "/api/stocks/AAPL", data=b" " * (9 << 20)), 413)


@pytest.mark.parametrize("status, line, rest", [
    (400, "GET /api/stocks/AAPL HTTP/1.1", ""), (400, "GET /api/%zz HTTP/1.1", "Host: x\r\n"), (400, "nonsense", ""),
    (400, "PUT /api/stocks/AAPL HTTP/1.1", "Host: x\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n"),
    (405, "TRACE /api/stocks/AAPL HTTP/1.1", "Host: x\r\n"),
    (414, f"GET /api/stocks/{'A' * 9000} HTTP/1.1", "Host: x\r\n"),
    (431, "GET /api/stocks/AAPL HTTP/1.1", f"Host: x\r\nCookie: {'c' * 9000}\r\n"),
    (501, "PUT /api/stocks/AAPL HTTP/1.1", "Host: x\r\nTransfer-Encoding: gzip\r\n"),
    (505, "GET /api/stocks/AAPL HTTP/3.0", "Host: x\r\n")])
def test_what_nginx_cannot_read_or_take_is_refused_in_larders_form(stack, status, line, rest):
    with socket.create_connection(("127.0.0.1", stack.port), timeout=20) as connection:
        connection.sendall(f"{line}\r\n{rest}\r\n".encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == status
        assert response.headers["Content-Type"] == "application/problem+json"
        problem = json.loads(response.read())
        assert problem["status"] == status and problem["detail"]


def test_pages_for_refusals_are_not_to_be_asked_for(stack):
    assert stack.get("/.larder/400").status_code == 404


@contextlib.contextmanager
def site(stack, directory):
    """The address of a site that has larder's locations besides pages, files and an application of its own."""
    port = free_port(2)
    for name in ("404", "405", "file"):
        (directory / f"{name}.html").write_text(f"own {name}")
    directory.chmod(0o755)
    temporary = "".join(f"    {kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (directory / "nginx.conf").write_text(f"""{"user root;" if os.geteuid() == 0 else ""}
daemon off;
pid {directory}/nginx.pid;
events {{}}
http {{
    access_log off;
{temporary}
    error_page 404 /404.html;
    include {stack.dir}/nginx/larder.conf;
    server {{
        listen 127.0.0.1:{port};
        root {directory};
        include {stack.dir}/nginx/larder-locations.conf;
        location /application/ {{
            proxy_intercept_errors on;
            proxy_pass http://127.0.0.1:{port + 1};
        }}
    }}
    server {{
        listen 127.0.0.1:{port + 1};
        return 400 "the application says what is wrong";
    }}
    server {{
        listen 127.0.0.1:{port};
        server_name later;
        root {directory};
        include {stack.dir}/nginx/larder-locations.conf;
        error_page 405 /405.html;
    }}
}}
""")
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(["nginx", "-e", directory / "error.log", "-c", directory / "nginx.conf"], stdout=log, stderr=log,
                                   env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"})
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for("nginx answers", lambda: process.poll() is None and _answers(url))
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _answers(url):
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(url + "/file.html", timeout=30).text == "own file"


def test_a_site_keeps_its_own_pages_for_errors(stack, tmp_path):
    with site(stack, tmp_path) as url:
        assert requests.get(url + "/nothing", timeout=30).text == "own 404"
        assert requests.get(url + "/application/", timeout=30).text == "the application says what is wrong"
        answer = requests.post(url + "/file.html", timeout=30)
        assert (answer.status_code, answer.headers["Content-Type"]) == (405, "text/html")
        assert requests.post(url + "/file.html", headers={"Host": "later"}, timeout=30).text == "own 405"
        # And larder's routes have larder's.
        assert requests.get(url + "/api/stocks/AAPL", timeout=30).status_code == 200
        assert_problem(requests.get(url + "/api/nothing", timeout=30), 404)
        assert_problem(requests.put(url + "/api/stocks/AAPL", data=b" " * (9 << 20), timeout=30), 413)
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=20) as connection:
            connection.sendall(b"PUT /api/stocks/AAPL HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n")
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")


def test_administration_is_for_the_machine_itself(make_stack):
    stack = make_stack("--l2", "memory")
    assert stack.request("GET", "/api/cache/status", admin=True).status_code == 200
    deny_loopback(stack)
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
    wait_for("larder has ended", lambda: not running(stack.larder_pid))
    wait_for("nginx knows", lambda: stack.get("/healthz").status_code == 503)
    for method in ("GET", "PUT", "POST"):
        answer = stack.request(method, "/api/stocks/AAPL")
        assert_problem(answer, 503, "cannot be reached")
        assert answer.headers["Retry-After"] == "1"
    # In its place, one that takes requests and is lost then.
    path, tries = stack.dir / "larder.sock", []
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o777)
        listening.listen(16)

        def lose():
            while True:
                try:
                    with listening.accept()[0] as connection:
                        tries.append(connection.recv(65536))
                except OSError:
                    return
        threading.Thread(target=lose, daemon=True).start()
        for method, times in (("GET", 4), ("PUT", 4), ("POST", 1), ("PATCH", 1)):
            tries.clear()
            answer = stack.request(method, "/api/stocks/AAPL")
            assert len(tries) == times, method
            if method == "GET":
                assert_problem(answer, 503, "cannot be reached")
                assert answer.headers["Retry-After"] == "1"
            else:
                assert_problem(answer, 503, "is not known", "the same one")
                assert "Retry-After" not in answer.headers
        listening.shutdown(socket.SHUT_RDWR)
