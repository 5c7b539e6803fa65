"""What curl and wrk cannot do for the benchmark: very many clients at once, purges with reads on their heels, the disk by itself.

    client.py cold CLIENTS PATH URL...                    all at once, shared out among the URLs
    client.py purge URL TOKEN BODY FIRST LAST READS       reads of items, a purge, reads, and its job to the end
    client.py purges URL TOKEN PATTERN                    one after another until SIGTERM; {digit} in PATTERN goes from 1 to 9
    client.py ranks URL PLACES DETAIL                     of a board: first, last, between and nobody, all of which DETAIL has to answer
    client.py sync DIRECTORY                              what it costs to have 4 KiB more of a file on that disk

Each prints a line of JSON.
"""

import asyncio
import http.client
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import urllib.parse

POLL_S = 0.005


async def ask(connection, path):
    """The status and the head of the answer to a GET."""
    reader, writer = connection
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    return (int(head.split()[1]) if head else 0), head.lower()


async def cold(clients, path, *urls):
    hosts = [urllib.parse.urlsplit(url) for url in urls]
    connections = [await asyncio.open_connection(hosts[i % len(hosts)].hostname, hosts[i % len(hosts)].port)
                   for i in range(int(clients))]
    began = time.monotonic()
    answers = await asyncio.gather(*(ask(connection, path) for connection in connections), return_exceptions=True)
    answers = [(0, repr(answer)) if isinstance(answer, BaseException) else answer for answer in answers]
    ok = sum(status == 200 for status, _ in answers)
    busy = sum(status == 503 and "\nretry-after:" in head for status, head in answers)
    others = [answer for answer in answers if answer[0] != 200 and not (answer[0] == 503 and "\nretry-after:" in answer[1])]
    return {"ok": ok, "busy": busy, "other": len(others), "seconds": time.monotonic() - began, "examples": others[:3]}


class Host:
    """One kept connection to a larder."""

    def __init__(self, url, token):
        parts = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(self, method, path, body=None):
        self.connection.request(method, path, body=body, headers=self.headers if body or "/cache/" in path else {})
        response = self.connection.getresponse()
        return response.status, response.read()

    def purge(self, body):
        """Its status, answer and milliseconds."""
        began = time.monotonic()
        status, answer = self.ask("POST", "/api/cache/invalidate", body)
        return status, json.loads(answer), 1000 * (time.monotonic() - began)

    def copies(self, items):
        """How many answers came from a copy of item 0's entry instead of being computed."""
        found = 0
        for item in items:
            status, answer = self.ask("GET", f"/api/bench/items/{item}")
            if status != 200:
                raise RuntimeError(f"item {item}: {status} {answer[:200]!r}")
            found += json.loads(answer)["n"] != item
        return found

    def follow(self, job):
        """Waits for the end of a job; its last state."""
        deadline = time.monotonic() + 120
        while True:
            status, answer = self.ask("GET", f"/api/cache/jobs/{job}")
            if status != 200:
                raise RuntimeError(f"job {job}: {status} {answer[:200]!r}")
            state = json.loads(answer)
            if state["state"] == "done":
                return state
            if time.monotonic() > deadline:
                raise RuntimeError(f"job {job} is not done after 120 s: {answer!r}")
            time.sleep(POLL_S)


def purge(url, token, body, first, last, reads):
    host = Host(url, token)
    host.ask("GET", "/healthz")
    # Half of what is read afterwards has been read before, and so is in larder's own memory too.
    items = [random.randint(int(first), int(last)) for _ in range(int(reads))]
    before = host.copies(items[: len(items) // 2])
    began = time.monotonic()
    status, answer, answer_ms = host.purge(body)
    stale = host.copies(items)
    job = host.follow(answer["job"]) if answer.get("job") else None
    return {"status": status, "answer_ms": answer_ms, "copies_before": before, "stale": stale, "job": job,
            "job_ms": 1000 * (time.monotonic() - began)}


def purges(url, token, pattern):
    host, done, ending = Host(url, token), 0, []
    signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
    while not ending:
        status, answer, _ = host.purge(json.dumps({"pattern": pattern.replace("{digit}", str(done % 9 + 1))}))
        if status != 200:
            raise RuntimeError(f"{status} {answer}")
        if answer.get("job"):
            host.follow(answer["job"])
        done += 1
    return {"purges": done}


def ranks(url, places, detail):
    parts = urllib.parse.urlsplit(url)
    host = Host(url, "")

    def ask(path):
        began = time.monotonic()
        host.connection.request("GET", parts.path + path)
        response = host.connection.getresponse()
        answer = json.loads(response.read())
        took_ms = 1000 * (time.monotonic() - began)
        if response.status == 200 and f"detail={detail}" not in response.headers["Cache-Status"]:
            raise RuntimeError(f"{path}: {response.headers['Cache-Status']}, not from {detail}")
        return response.status, answer, took_ms

    last, took = ask("/top?limit=1")[1]["members"] - 1, []
    for place in (last * i // (int(places) - 1) for i in range(int(places))):
        # Who stands there is found by counting on from the first, not as his rank is.
        member = ask(f"/top?limit=1&offset={place}")[1]["items"][0]["member"]
        status, answer, took_ms = ask(f"/{member}")
        if status != 200 or answer["rank"] != place + 1:
            raise RuntimeError(f"{member} stands at {place + 1}, but: {status} {answer}")
        took.append(took_ms)
    status, answer, took_ms = ask("/nobody")
    if status != 404:
        raise RuntimeError(f"nobody: {status} {answer}")
    took.append(took_ms)
    return {"slowest_ms": max(took), "median_ms": sorted(took)[len(took) // 2]}


def sync(directory):
    took = []
    with tempfile.NamedTemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(300):
            file.write(bytes(4096))
            began = time.monotonic()
            os.fdatasync(file.fileno())
            took.append(time.monotonic() - began)
    return {"median_us": round(sorted(took)[150] * 1e6, 1)}


def main(verb, *arguments):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if 0 < hard < 65536 else 65536, hard))
    if verb == "cold":
        print(json.dumps(asyncio.run(cold(*arguments))))
    else:
        print(json.dumps({"purge": purge, "purges": purges, "ranks": ranks, "sync": sync}[verb](*arguments)))


main(*sys.argv[1:])
