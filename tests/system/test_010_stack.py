"""scripts/stack: one way to start the system, and only what it started is stopped."""

import pathlib
import socket
import stat
import subprocess

from conftest import ROOT, running, wait_for


def test_up_returns_when_the_system_is_ready(stack):
    assert stack.get("/readyz").status_code == 200


def test_env_names_what_runs(stack):
    assert set(stack.env) == {"URL", "ADMIN_TOKEN", "REDIS_SOCKET", "DATABASE", "LARDER_PID", "REDIS_PID", "NGINX_PID"}
    assert stack.url == f"http://127.0.0.1:{stack.port}"
    assert pathlib.Path(stack.database).exists()
    assert stack.redis().ping()
    for pid in (stack.larder_pid, stack.redis_pid, stack.nginx_pid):
        assert running(pid)


def test_the_admin_token_is_for_its_owner_only(stack):
    path = stack.dir / "admin-token"
    assert path.read_text() == stack.admin_token and len(stack.admin_token) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_env_can_be_sourced_by_a_shell(stack):
    shell = subprocess.run(["sh", "-c", f". {stack.dir}/env && echo $URL $LARDER_PID"], capture_output=True, text=True, check=True)
    assert shell.stdout.split() == [stack.url, str(stack.larder_pid)]


def test_everything_listens_on_loopback_or_in_the_directory(stack):
    listening = subprocess.run(["cat", "/proc/net/tcp", "/proc/net/tcp6"], capture_output=True, text=True, check=True).stdout
    addresses = [line.split()[1] for line in listening.splitlines() if line.split()[3:4] == ["0A"]]
    assert f"0100007F:{stack.port:04X}" in addresses
    assert [address for address in addresses if address.endswith(f":{stack.port:04X}")] == [f"0100007F:{stack.port:04X}"]


def test_each_process_shows_its_role(stack):
    assert len(stack.children("worker")) == 2
    assert len(stack.children("writer")) == 1


def test_up_again_leaves_what_runs_alone(stack):
    before = dict(stack.env)
    stack.up()
    assert stack.env == before


def test_down_stops_exactly_its_own_and_keeps_the_data(make_stack):
    stack = make_stack()
    other = subprocess.Popen(["sleep", "60"])
    try:
        pids = [stack.larder_pid, stack.redis_pid, stack.nginx_pid, *stack.children("worker"), *stack.children("writer")]
        stack.down()
        assert [pid for pid in pids if running(pid)] == []
        assert running(other.pid)
        assert pathlib.Path(stack.database).exists()
        assert not (stack.dir / "env").exists()
    finally:
        other.kill()
        other.wait()


def test_down_twice_is_no_error(make_stack):
    stack = make_stack()
    stack.down()
    stack.down()


def test_a_recycled_process_id_is_not_killed(make_stack):
    stack = make_stack("--l2", "memory")
    stack.down()
    other = subprocess.Popen(["sleep", "60"])
    try:
        (stack.dir / "larder.pid").write_text(f"{other.pid} 1\n")
        stack.down()
        assert running(other.pid)
    finally:
        other.kill()
        other.wait()


def test_up_after_a_crash_starts_what_is_missing_and_keeps_the_data(make_stack):
    stack = make_stack()
    before = dict(stack.env)
    count = stack.get("/api/stocks/").json()["count"]
    stack.kill(stack.redis_pid, stack.larder_pid)
    stack.up()
    assert stack.env["NGINX_PID"] == before["NGINX_PID"]
    assert stack.env["REDIS_PID"] != before["REDIS_PID"] and stack.env["LARDER_PID"] != before["LARDER_PID"]
    assert stack.env["ADMIN_TOKEN"] == before["ADMIN_TOKEN"]
    assert stack.get("/api/stocks/").json()["count"] == count


def test_options_are_remembered_and_a_changed_one_takes_effect(make_stack):
    stack = make_stack("--l2", "memory", "--workers", "1")
    result = stack.script("up")
    assert result.returncode == 0
    assert len(stack.children("worker")) == 1
    stack.up("--workers", "3")
    wait_for("three workers", lambda: len(stack.children("worker")) == 3)


def test_without_redis_there_is_none(make_stack):
    stack = make_stack("--l2", "memory")
    assert stack.env["REDIS_SOCKET"] == "" and stack.env["REDIS_PID"] == ""
    assert stack.get("/api/stocks/").status_code == 200


def test_two_hosts_share_redis_and_the_database(make_stack):
    stack = make_stack("--hosts", "2")
    assert stack.url2 == f"http://127.0.0.1:{stack.port + 1}"
    assert stack.larder2_pid != stack.larder_pid
    first = stack.get("/api/stocks/")
    second = stack.http.get(stack.url2 + "/api/stocks/", timeout=30)
    assert first.json() == second.json()
    assert first.headers["ETag"] == second.headers["ETag"]
    pids = [stack.larder2_pid, stack.nginx2_pid]
    stack.down()
    assert [pid for pid in pids if running(pid)] == []


def test_a_start_that_fails_says_why_and_leaves_nothing_running(make_stack):
    stack = make_stack("--l2", "memory", "--set", "server.workers=none", start=False)
    result = stack.script("up", "--port", str(stack.port), *stack.arguments, check=False)
    assert result.returncode == 1
    assert "workers" in result.stdout
    assert not list(stack.dir.glob("*.pid"))


def test_a_port_that_somebody_else_has_is_said_and_leaves_nothing_running(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = subprocess.run([ROOT / "scripts/stack", "up", "--dir", tmp_path, "--port", str(port)], capture_output=True, text=True)
    assert result.returncode == 1
    assert f"something else listens on port {port} already" in result.stderr
    assert not list(tmp_path.glob("*.pid"))


def test_wrong_usage_exits_with_2():
    for arguments in ([], ["up"], ["sideways", "--dir", "/tmp"], ["up", "--dir"]):
        assert subprocess.run([ROOT / "scripts" / "stack", *arguments], capture_output=True).returncode == 2
