"""How long plain CGI takes for a hit: from the start of the process to the end of its answer.

usage: cgi.py PROGRAM CONFIG PATH COUNT

Prints as JSON the milliseconds: median, p99, and the median of the same program's start when it has nothing to do.
"""

import json
import os
import statistics
import sys
import time

program, config, path, count = sys.argv[1:]
VARIABLES = {"GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "GET", "REQUEST_URI": path, "REMOTE_ADDR": "127.0.0.1",
             "LARDER_CONFIG": config}


def run(arguments, variables):
    """(milliseconds until standard output ended, what stood there)"""
    reader, writer = os.pipe()
    began = time.perf_counter()
    pid = os.posix_spawn(program, [program, *arguments], variables, file_actions=[
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, writer, 1)])
    os.close(writer)
    parts = []
    while part := os.read(reader, 65536):
        parts.append(part)
    took = (time.perf_counter() - began) * 1000
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        sys.exit(f"{program} ended with {os.waitstatus_to_exitcode(status)}")
    return took, b"".join(parts)


def hit():
    took, answer = run([], VARIABLES)
    if not answer.startswith(b"Status: 200 OK\r\n") or b"\r\nX-Cache: HIT\r\n" not in answer:
        sys.exit(f"no hit: {answer[:400]!r}")
    return took


run([], VARIABLES)
times = sorted(hit() for _ in range(int(count)))
starts = [run(["--version"], {})[0] for _ in range(int(count))]
print(json.dumps({"median": statistics.median(times), "p99": times[len(times) * 99 // 100], "start": statistics.median(starts)}))
