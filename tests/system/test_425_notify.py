"""What the service manager is told while larder lives: readiness, reload, upgrade, watchdog, the end; by a socket that the test listens on."""

import os
import signal
import socket
import time
from pathlib import Path

from conftest import running, wait_for
from test_420_sockets import ask, log_of, place, serving  # noqa: F401 (a fixture)


class Manager:
    """A service manager: what it was told, by whom (the process's id) and when, in order."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.settimeout(0.05)
        self.got = []

    def listen(self):
        try:
            while True:
                text, credentials, *_ = self.socket.recvmsg(4096, socket.CMSG_SPACE(12))
                pid = int.from_bytes(credentials[0][2][:4], "little")
                self.got += [(line, pid, time.monotonic()) for line in text.decode().split("\n")]
        except TimeoutError:
            return self.got

    def wait(self, start, after=0):
        """The first word that begins with START, of those from AFTER on."""
        return wait_for(f"the notification {start}", lambda: next((got for got in self.listen()[after:] if got[0].startswith(start)), None))

    def environment(self, **more):
        return {**os.environ, "NOTIFY_SOCKET": self.path, **more}


def monotonic_us():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_reload_is_told_with_the_time_at_which_it_began(place):  # noqa: F811
    manager = Manager(place / "notify")
    with serving(place, env=manager.environment()) as larder:
        assert manager.wait("READY=1")[1] == larder.pid
        for wrong in (False, True):
            if wrong:
                (place / "larder.conf").write_text("[nonsense]\n")
            before, so_far = monotonic_us(), len(manager.listen())
            larder.send_signal(signal.SIGHUP)
            manager.wait("RELOADING=1", so_far)
            began = int(manager.wait("MONOTONIC_USEC=", so_far)[0].split("=")[1])
            assert before <= began <= monotonic_us()
            manager.wait("READY=1", so_far)
            words = [word for word, _, _ in manager.got[so_far:]]
            assert words.index("RELOADING=1") < words.index("READY=1")
        assert "reload_refused" in log_of(place)
        larder.terminate()
        manager.wait("STOPPING=1")
        assert larder.wait(30) == 0
    assert not [word for word, _, _ in manager.listen() if word.startswith("WATCHDOG")], "nobody has asked for a watchdog"


def test_the_watchdog_is_told_as_often_as_it_wants(place):  # noqa: F811
    manager = Manager(place / "notify")
    with serving(place, env=manager.environment(WATCHDOG_USEC="400000")) as larder:
        manager.wait("READY=1")
        for _ in range(5):  # a machine may stand still for so long once
            so_far, end = len(manager.listen()), time.monotonic() + 2
            while time.monotonic() < end:
                manager.listen()
            pats = [at for word, _, at in manager.listen()[so_far:] if word == "WATCHDOG=1"]
            if 8 <= len(pats) <= 25 and max(later - sooner for sooner, later in zip(pats, pats[1:])) < 0.4:
                break
        else:
            raise AssertionError(f"not as often as it wants: {pats}")
        # A supervisor that hangs says nothing.
        larder.send_signal(signal.SIGSTOP)
        wait_for("it stands still", lambda: Path(f"/proc/{larder.pid}/stat").read_text().rsplit(") ", 1)[1][0] == "T")
        so_far = len(manager.listen())
        time.sleep(0.6)
        silent = len(manager.listen()) == so_far
        larder.send_signal(signal.SIGCONT)
        assert silent
        manager.wait("WATCHDOG=1", so_far)


def test_a_watchdog_for_another_process_is_none_of_ours(place):  # noqa: F811
    manager = Manager(place / "notify")
    with serving(place, env=manager.environment(WATCHDOG_USEC="400000", WATCHDOG_PID="1")):
        manager.wait("READY=1")
        time.sleep(0.6)
        assert not [word for word, _, _ in manager.listen() if word.startswith("WATCHDOG")]


def test_an_upgrade_names_the_new_main_process(place):  # noqa: F811
    manager = Manager(place / "notify")
    # The id of the first process is known in it alone.
    shell = ["/bin/sh", "-c", 'WATCHDOG_PID=$$ exec "$0" "$@"']
    from test_420_sockets import command
    with serving(place, [*shell, *command(place, "serve")], env=manager.environment(WATCHDOG_USEC="400000")) as larder:
        manager.wait("READY=1")
        so_far = len(manager.listen())
        larder.send_signal(signal.SIGUSR2)
        word, told_by, _ = manager.wait("MAINPID=", so_far)
        new = int(word.split("=")[1])
        try:
            assert told_by == larder.pid != new and running(new)
            assert larder.wait(30) == 0
            wait_for("the new one is ready", lambda: any(got[0] == "READY=1" and got[1] == new for got in manager.listen()[so_far:]))
            words = [(word, pid) for word, pid, _ in manager.got[so_far:]]
            assert words.index(("RELOADING=1", larder.pid)) < words.index((f"MAINPID={new}", larder.pid)) < words.index(("READY=1", new))
            # Whom the service manager does not take for the main process says nothing to it.
            main = words.index((f"MAINPID={new}", larder.pid))
            assert {pid for _, pid in words[:main]} == {larder.pid} and {pid for _, pid in words[main + 1:]} == {new}
            assert ("STOPPING=1", larder.pid) not in words
            so_far = len(manager.listen())
            assert manager.wait("WATCHDOG=1", so_far)[1] == new
            assert ask(place / "larder.sock") == "AAPL"
        finally:
            os.kill(new, signal.SIGTERM)
        manager.wait("STOPPING=1")
        wait_for("it has gone", lambda: not running(new))
        assert not (place / "larder.sock").exists(), "the socket's file goes with the last of them"
