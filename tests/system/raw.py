"""HTTP as it is written, for what a well-behaved client library would mend or refuse before it is sent."""

import http.client
import socket


class Answer:
    """What requests' answers have too, as far as these tests look at it."""

    def __init__(self, response):
        self.status_code, self.headers, self.content = response.status, response.headers, response.read()


def ask(port, path, method="GET", headers=(), body=b""):
    """One request to 127.0.0.1:PORT. PATH and HEADERS, (name, value) pairs, go out byte by byte as they are."""
    lines = [b" ".join([encode(method), encode(path), b"HTTP/1.1"]), b"Host: localhost", b"Connection: close"]
    lines += [encode(name) + b": " + encode(value) for name, value in headers]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # an answer that did not wait for the rest of the body
        response = http.client.HTTPResponse(connection, method=method if isinstance(method, str) else method.decode())
        response.begin()
        return Answer(response)


def encode(text):
    return text if isinstance(text, bytes) else text.encode()
