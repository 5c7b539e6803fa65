"""Where larder listens: a socket of its own, one of systemd's, a listening standard input, TCP; who may come in; what systemd is told."""

import contextlib
import grp
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile

import pytest

from conftest import ROOT, children, free_port, listens, running, wait_for
from fcgi import Client, request

NOBODY = 65534


@pytest.fixture
def place(tmp_path_factory):
    """A directory with a migrated database and the sample in it, that others may look into; and how to write its configuration."""
    directory = tmp_path_factory.mktemp("place")
    for parent in (directory, *directory.parents):
        if parent == pathlib.Path(tempfile.gettempdir()):
            break
        parent.chmod(0o755)
    write_config(directory)
    run(directory, "migrate", "--sample", check=True)
    return directory


def write_config(directory, **settings):
    """SETTINGS of [server]."""
    lines = {"socket": directory / "larder.sock", "workers": 1, **settings}
    (directory / "larder.conf").write_text(
        "[server]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())
        + f"[store]\ndatabase = {directory}/larder.db\nsql = {ROOT}/sql\n")


def program():
    return os.path.realpath(os.environ.get("LARDER", ROOT / "build" / "larder"))


def command(directory, *arguments):
    return [program(), "--config", str(directory / "larder.conf"), *arguments]


def run(directory, *arguments, **options):
    return subprocess.run(command(directory, *arguments), capture_output=True, text=True, timeout=60, **options)


@contextlib.contextmanager
def serving(directory, arguments=None, ready=True, **options):
    """`larder serve` as a child of the test, killed in the end if it has not ended by then; its log, begun anew, is DIRECTORY/log."""
    options.setdefault("stdin", subprocess.DEVNULL)
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(arguments or command(directory, "serve"), stdout=log, stderr=log, **options)
    try:
        if ready:
            wait_for("larder is ready", lambda: " ready " in log_of(directory) or process.poll() is not None)
            assert process.poll() is None, log_of(directory)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def log_of(directory):
    return (directory / "log").read_text(errors="replace")


def ask(path):
    with Client(path) as client:
        return client.ask("/api/stocks/AAPL").json()["ticker"]


@pytest.mark.parametrize("mode", [None, "0600", "0666"])
def test_its_own_socket_has_the_mode_that_is_configured_and_goes_with_it(place, mode):
    write_config(place, **({"socket_mode": mode} if mode else {}))
    path = place / "larder.sock"
    with serving(place) as larder:
        assert stat.S_ISSOCK(path.stat().st_mode) and stat.S_IMODE(path.stat().st_mode) == int(mode or "0660", 8)
        assert ask(path) == "AAPL"
        larder.terminate()
        assert larder.wait(30) == 0
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to others")
def test_its_own_socket_belongs_to_the_configured_user_and_group(place):
    for path in (place, *place.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    write_config(place, user="nobody", group="www-data")
    with serving(place) as larder:
        status = (place / "larder.sock").stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (NOBODY, 0o660)
        assert status.st_gid == grp.getgrnam("www-data").gr_gid
        for pid in (larder.pid, *(pid for pid, _ in children(larder.pid))):
            assert os.stat(f"/proc/{pid}").st_uid == NOBODY
        assert ask(place / "larder.sock") == "AAPL"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to others")
def test_a_socket_that_root_makes_is_for_the_web_server(place):
    with serving(place):
        status = (place / "larder.sock").stat()
        assert (status.st_uid, status.st_gid) == (0, grp.getgrnam("www-data").gr_gid)
        assert ask_as(33, place / "larder.sock") > 0


def test_a_group_that_is_not_there_ends_the_start(place):
    write_config(place, group="no-such-group")
    with serving(place, ready=False) as larder:
        assert larder.wait(30) == 2
    assert "no-such-group" in log_of(place) and "`group` in [server]" in log_of(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_secret_of_the_users_own_group_is_read_at_a_reload_too(place):
    """With another group for the socket, as the web server's."""
    token = place / "token"
    token.write_text("a-token-for-the-group-alone\n")
    token.chmod(0o640)
    for path in (place, *place.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    os.chown(token, 0, NOBODY)
    write_config(place, user="nobody", group="www-data")
    with open(place / "larder.conf", "a") as config:
        config.write(f"[auth]\nadmin_token_file = {token}\n")
    with serving(place) as larder:
        larder.send_signal(signal.SIGHUP)
        wait_for("it has reloaded", lambda: log_of(place).count(" ready ") == 2)
        assert "reload_refused" not in log_of(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_what_a_command_of_roots_makes_is_the_users(place):
    (place / "larder.db").unlink()
    os.chown(place, NOBODY, NOBODY)
    write_config(place, user="nobody")
    run(place, "migrate", "--sample", check=True)
    assert {path.stat().st_uid for path in place.glob("larder.db*")} == {NOBODY}
    with serving(place):
        wait_for("the writer has it", lambda: "writer_ready" in log_of(place))


@pytest.mark.skipif(os.geteuid() != 0, reason="root may write everything")
def test_a_database_that_the_user_may_not_write_is_said_to_be(place):
    (place / "larder.db-larder.lock").unlink()
    os.chown(place, NOBODY, NOBODY)
    write_config(place, user="nobody")
    with serving(place):
        wait_for("the log says so", lambda: f"belongs to uid 0 and cannot be written by uid {NOBODY}" in log_of(place))
        assert "writer_ready" not in log_of(place)
        assert ask(place / "larder.sock") == "AAPL"
        os.chown(place / "larder.db", NOBODY, NOBODY)
        wait_for("the writer has it", lambda: "writer_ready" in log_of(place))


def test_a_stale_socket_file_is_replaced(place):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(place / "larder.sock"))
    with serving(place):
        assert ask(place / "larder.sock") == "AAPL"


def test_a_socket_in_use_is_refused_and_left_alone(place):
    with serving(place):
        second = run(place, "serve", stdin=subprocess.DEVNULL)
        assert second.returncode == 1
        assert f"another server listens on {place}/larder.sock" in second.stderr
        assert ask(place / "larder.sock") == "AAPL"


def test_a_file_that_is_no_socket_is_refused_and_left_alone(place):
    (place / "larder.sock").write_text("precious")
    refused = run(place, "serve", stdin=subprocess.DEVNULL)
    assert refused.returncode == 1 and "is no socket" in refused.stderr
    assert (place / "larder.sock").read_text() == "precious"


def test_a_directory_that_is_not_there_is_named(place):
    write_config(place, socket=place / "nowhere" / "larder.sock")
    refused = run(place, "serve", stdin=subprocess.DEVNULL)
    assert refused.returncode == 1 and f"{place}/nowhere/larder.sock" in refused.stderr and "No such file" in refused.stderr


def test_tcp(place):
    port = free_port()
    write_config(place, socket=f"127.0.0.1:{port}")
    with serving(place):
        client = Client.__new__(Client)
        client.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        with client:
            assert [client.ask("/api/stocks/AAPL").status_code for _ in range(3)] == [200] * 3
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        write_config(place, socket="127.0.0.1:%d" % taken.getsockname()[1])
        refused = run(place, "serve", stdin=subprocess.DEVNULL)
        assert refused.returncode == 1 and "cannot listen on 127.0.0.1:" in refused.stderr and "in use" in refused.stderr


@contextlib.contextmanager
def listening(path):
    """A listening socket as somebody else has made it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        yield listener


def as_third(listener):
    """Options of Popen that make LISTENER the child's descriptor 3, where systemd puts the first socket."""
    return {"close_fds": False, "preexec_fn": lambda: os.dup2(listener.fileno(), 3)}


def test_a_socket_that_systemd_hands_over(place):
    path = place / "systemd.sock"
    with listening(path) as listener:
        # The child's id is known in the child alone, so a shell puts it into the environment before larder takes its place.
        arguments = ["/bin/sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"', *command(place, "serve")]
        with serving(place, arguments, **as_third(listener)):
            assert ask(path) == "AAPL"
            assert not (place / "larder.sock").exists()
        # It is not larder's to remove.
        assert path.exists()


def test_a_socket_meant_for_another_process_is_not_taken(place):
    path = place / "systemd.sock"
    with listening(path) as listener:
        with serving(place, env={**os.environ, "LISTEN_PID": "1", "LISTEN_FDS": "1"}, **as_third(listener)):
            assert ask(place / "larder.sock") == "AAPL"


def test_activation_by_systemd(place):
    activate = shutil.which("systemd-socket-activate")
    if not activate:
        pytest.skip("systemd-socket-activate is not installed")
    path = place / "activated.sock"
    with serving(place, [activate, f"--listen={path}", *command(place, "serve")], ready=False):
        wait_for("the socket is there", lambda: listens(path))
        assert "ready" not in log_of(place)
        assert ask(path) == "AAPL"


def test_a_listening_standard_input(place):
    """As spawn-fcgi, lighttpd and mod_fcgid hand it over; then the command's name may be left out."""
    path = place / "spawned.sock"
    with listening(path) as listener:
        for arguments in (command(place, "serve"), command(place)):
            with serving(place, arguments, stdin=listener.fileno()):
                assert ask(path) == "AAPL"
                assert not (place / "larder.sock").exists()
        assert path.exists()


def test_spawn_fcgi(place):
    if not shutil.which("spawn-fcgi"):
        pytest.skip("spawn-fcgi is not installed")
    path = place / "spawned.sock"
    with serving(place, ["spawn-fcgi", "-n", "-s", str(path), "--", *command(place, "serve")]):
        assert ask(path) == "AAPL"


class Notifications:
    """What larder tells the service manager."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(0.05)
        self.got = []

    def has(self, word):
        with contextlib.suppress(TimeoutError):
            while True:
                self.got += self.socket.recv(4096).decode().split("\n")
        return word in self.got

    def wait(self, word):
        wait_for(f"the notification {word}", lambda: self.has(word))


def test_the_service_manager_is_told(place):
    told = Notifications(place / "notify")
    with serving(place, env={**os.environ, "NOTIFY_SOCKET": str(place / "notify")}) as larder:
        told.wait("READY=1")
        assert ask(place / "larder.sock") == "AAPL"
        told.got.clear()
        larder.send_signal(signal.SIGHUP)
        told.wait("RELOADING=1")
        # Type=notify-reload wants to know when it began.
        assert any(line.startswith("MONOTONIC_USEC=") for line in told.got)
        told.wait("READY=1")
        assert told.got.index("RELOADING=1") < told.got.index("READY=1")
        larder.terminate()
        told.wait("STOPPING=1")
        assert larder.wait(30) == 0


def test_ready_means_that_somebody_answers(place):
    """Whoever connects once READY=1 has come is answered at once, also when migrations had to be applied before."""
    (place / "larder.db").unlink()
    told = Notifications(place / "notify")
    with serving(place, ready=False, env={**os.environ, "NOTIFY_SOCKET": str(place / "notify")}):
        told.wait("READY=1")
        with Client(place / "larder.sock") as client:
            assert client.ask("/readyz").status_code == 200
            assert client.ask("/api/stocks/").status_code == 200


STRANGER = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(20)
client.connect(sys.argv[1])
try:
    client.sendall(bytes.fromhex(sys.argv[2]))
    print(len(client.recv(65536)))
except (BrokenPipeError, ConnectionResetError):
    print(0)
"""


def ask_as(uid, path):
    """How many bytes of an answer a process of UID gets."""
    result = subprocess.run([sys.executable, "-c", STRANGER, str(path), request("/api/stocks/AAPL").hex()], capture_output=True,
                            text=True, timeout=60, user=uid, group=uid, extra_groups=[], check=True)
    return int(result.stdout)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_peer_that_is_not_allowed_is_turned_away(place):
    path = place / "larder.sock"
    write_config(place, socket_mode="0666")
    with serving(place):
        assert ask_as(0, path) > 0
        assert ask_as(33, path) > 0, "www-data is let in by itself"
        assert ask_as(NOBODY, path) == 0
        wait_for("the log names it", lambda: f"uid={NOBODY}" in log_of(place))
        assert "allow_users" in log_of(place)
    write_config(place, socket_mode="0666", allow_users="nobody")
    with serving(place):
        assert ask_as(NOBODY, path) > 0
        assert ask_as(33, path) == 0
    write_config(place, allow_users="no-such-user")
    with serving(place, ready=False) as larder:
        wait_for("the log says so", lambda: "no-such-user" in log_of(place))
        larder.terminate()
        larder.wait(30)


def test_an_inherited_descriptor_leaks_into_no_child(place):
    """What larder was started with stays its own affair: children hold sockets, the log and their own, not the parent's files."""
    with serving(place) as larder:
        for pid, _ in children(larder.pid):
            targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            assert not [target for target in targets if target.endswith(("larder.conf", ".sql"))], targets
        assert running(larder.pid)
