"""Clients that ask without a pause while a test breaks something, and remember every answer."""

import collections
import http.client
import re
import subprocess
import threading
import time

Answer = collections.namedtuple("Answer", "at seconds status cache body")


class Load:
    """THREADS threads asking for PATHS in turn, each on a kept connection of its own, while the `with` block runs.

    An exchange that broke is an answer too: its status is None and its body says how. HEADERS and MAKE_BODY make other requests
    than GET: MAKE_BODY(thread, n) gives the body of the n-th request of a thread, MAKE_PATH likewise its path.
    """

    def __init__(self, port, paths, threads=8, pause=0.002, method="GET", headers=None, make_body=None, make_path=None):
        self.port, self.paths, self.pause = port, paths, pause
        self.method, self.headers, self.make_body, self.make_path = method, headers or {}, make_body, make_path
        self.answers = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True) for number in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self.threads), "a client waits for an answer for more than 60 s"

    def run(self, number):
        connection, count = None, 0
        while not self.stopping.is_set():
            path = self.make_path(number, count) if self.make_path else self.paths[(number + count) % len(self.paths)]
            body = self.make_body(number, count) if self.make_body else None
            began = time.monotonic()
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                connection.request(self.method, path, body=body, headers=self.headers)
                response = connection.getresponse()
                answer = (response.status, response.getheader("X-Cache"), response.read())
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                connection, answer = None, (None, None, repr(error).encode())
            self.answers.append(Answer(began, time.monotonic() - began, *answer))
            count += 1
            time.sleep(self.pause)

    def wait(self, count=100, seconds=30, status=None):
        """Returns when COUNT further answers have come, all of STATUS if that is given."""
        first, deadline = len(self.answers), time.monotonic() + seconds
        while sum(status in (None, answer.status) for answer in self.answers[first:]) < count:
            assert time.monotonic() < deadline, f"{count} answers did not come within {seconds} s"
            time.sleep(0.01)

    def others(self, status=200):
        """Answers other than STATUS."""
        return [answer for answer in self.answers if answer.status != status]

    def slowest(self):
        return max(answer.seconds for answer in self.answers)


Wrk = collections.namedtuple("Wrk", "requests errors text")


def start_wrk(url, seconds, connections=32):
    return subprocess.Popen(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", url],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish_wrk(process, seconds=90):
    """What wrk counted: all answers, and those other than 2xx together with broken connections."""
    text, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, text
    requests = int(re.search(r"(\d+) requests in", text).group(1))
    others = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors = (int(others.group(1)) if others else 0) + (sum(map(int, broken.groups())) if broken else 0)
    return Wrk(requests, errors, text)
