"""A small FastCGI client: what a web server sends to larder, and what no honest one would.

Records are made by plain functions, so that a test can put wrong ones together; Client sends whole requests, any number
of them on one connection, and reads the answers.
"""

import dataclasses
import email.message
import email.parser
import json
import socket
import struct

BEGIN_REQUEST, ABORT_REQUEST, END_REQUEST, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, GET_VALUES_RESULT, UNKNOWN_TYPE = range(1, 12)
RESPONDER, AUTHORIZER = 1, 2
KEEP_CONN = 1


def record(kind, content=b"", request=1, padding=0, version=1):
    """One record, with the lengths it really has."""
    return struct.pack("!BBHHBx", version, kind, request, len(content), padding) + content + bytes(padding)


def begin(request=1, role=RESPONDER, flags=KEEP_CONN):
    return record(BEGIN_REQUEST, struct.pack("!HB5x", role, flags), request)


def length(number, long=False):
    return struct.pack("!I", number | 1 << 31) if long or number > 127 else bytes([number])


def pair(name, value, long=False):
    return length(len(name), long) + length(len(value), long) + name + value


def pairs(variables):
    return b"".join(pair(to_bytes(name), to_bytes(value)) for name, value in variables.items())


def to_bytes(text):
    return text if isinstance(text, bytes) else str(text).encode()


def stream(kind, content, request=1):
    """CONTENT as records of at most 65,528 bytes, and the empty one that ends them."""
    parts = [content[at:at + 65528] for at in range(0, len(content), 65528)]
    return b"".join(record(kind, part, request) for part in [*parts, b""])


def variables(path, method="GET", body=b"", token=None, content_type="application/json", **more):
    """What nginx would pass for a request; names in capitals come from MORE."""
    found = {"REQUEST_METHOD": method, "REQUEST_URI": path, "REMOTE_ADDR": "127.0.0.1"}
    if body:
        found |= {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": len(body)}
    if token:
        found["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return found | more


def request(path, method="GET", body=b"", keep=True, **more):
    """The bytes of a whole request."""
    return begin(flags=KEEP_CONN if keep else 0) + stream(PARAMS, pairs(variables(path, method, body, **more))) + stream(STDIN, body)


@dataclasses.dataclass
class Answer:
    status_code: int
    headers: email.message.Message
    content: bytes

    def json(self):
        return json.loads(self.content)


def parse(output):
    head, separator, body = output.partition(b"\r\n\r\n")
    assert separator, f"no CGI head: {output[:200]!r}"
    headers = email.parser.BytesHeaderParser().parsebytes(head + b"\r\n\r\n")
    # Without one it is 200 (RFC 3875, section 6.3.3).
    return Answer(int(headers.get("Status", "200").split()[0]), headers, body)


class Client:
    """One connection to larder's socket."""

    def __init__(self, path, timeout=20.0):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, count):
        """COUNT bytes; fewer when the connection ends."""
        got = b""
        while len(got) < count:
            try:
                part = self.socket.recv(count - len(got))
            except ConnectionResetError:
                part = b""
            if not part:
                break
            got += part
        return got

    def read_record(self):
        """(kind, request, content), or None at the end of the connection."""
        head = self.receive(8)
        if len(head) < 8:
            return None
        _, kind, number, content_length, padding = struct.unpack("!BBHHBx", head)
        content = self.receive(content_length)
        self.receive(padding)
        return kind, number, content

    def read_answer(self):
        """The answer to a request, or None when the connection ends without a whole one."""
        output = b""
        while found := self.read_record():
            kind, _, content = found
            if kind == STDOUT:
                output += content
            elif kind == END_REQUEST:
                return parse(output)
        return None

    def ask(self, path, method="GET", **more):
        self.send(request(path, method, **more))
        return self.read_answer()

    def is_closed(self):
        """Waits until larder has closed the connection, reading whatever it says before."""
        while found := self.receive(65536):
            del found
        return True
