"""Pages of the documentation as they are run: what is in them, and a shell that does what they tell a reader to do.

A page is Markdown. Its fenced blocks are, by language:

- `console`: lines that begin with `$ ` are commands (`> ` goes on with one), the others what it prints. `...` stands for anything, on a
  line of its own for any number of lines. A command must succeed;
- `sh`: a script, of which every command must succeed;
- anything else: something to read, unless the block has to be put into a file.

HTML comments, which readers do not see, say what else there is to do. In front of a block:

    <!-- file: PATH -->             the block is that file
    <!-- not run: REASON -->        the commands cannot be run here
    <!-- run instead: COMMANDS -->  nor can these, but others like them

and anywhere `<!-- run: COMMANDS -->`.

What a page says of paths and ports of a real host is true below a directory of its own here: see Host.
"""

import contextlib
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from conftest import ROOT, free_port

LANGUAGES = {"console", "sh", "sql", "ini", "nginx", "apache", "json", "html", "php", "ts", "text", "promql"}
NOTE = re.compile(r"<!-- (file|not run|run instead|run):\s(.*?)\s?-->", re.DOTALL)


class Block:
    """One fenced block, or a `run` comment, whose language is `sh`."""

    def __init__(self, page, line, language, text, notes=None):
        self.page, self.line, self.language, self.text, self.notes = page, line, language, text, notes or {}

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def steps(self):
        """What to run: pairs of commands and what they print, None where that does not matter."""
        if "run instead" in self.notes:
            return [(self.notes["run instead"], None)]
        if self.language == "sh":
            return [(self.text, None)]
        steps = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                steps.append([line[2:], ""])
            elif line.startswith("> ") and steps and not steps[-1][1]:
                steps[-1][0] += f"\n{line[2:]}"
            else:
                assert steps, f"{self}: the block begins with output"
                steps[-1][1] += f"{line}\n"
        return steps

    def is_run(self):
        return self.language in ("console", "sh") and "file" not in self.notes and "not run" not in self.notes


class Page:
    """A file, its blocks in their order, and the rest of it."""

    def __init__(self, path):
        self.path, self.blocks, self.prose, self.wrong = path, [], [], []
        notes, lines = {}, path.read_text().splitlines()
        number = 0
        while number < len(lines):
            line, at = lines[number], number + 1
            number += 1
            if line.startswith("<!-- "):
                while "-->" not in lines[number - 1]:
                    line += f"\n{lines[number]}"
                    number += 1
                found = NOTE.findall(line)
                if not found:
                    self.wrong.append(f"{path.name}:{at}: a comment that says nothing that is known")
                for kind, text in found:
                    if kind == "run":
                        self.blocks.append(Block(path, at, "sh", text))
                    else:
                        notes[kind] = text.strip()
                continue
            if line.lstrip().startswith("```"):
                indent, language, text = len(line) - len(line.lstrip()), line.strip()[3:], ""
                while number < len(lines) and lines[number].strip() != "```":
                    text += f"{lines[number][indent:]}\n"
                    number += 1
                number += 1
                if language not in LANGUAGES:
                    self.wrong.append(f"{path.name}:{at}: {language or 'nothing'} is no language of a block")
                self.blocks.append(Block(path, at, language, text, notes))
                notes = {}
                continue
            if line and notes:
                self.wrong.append(f"{path.name}:{at}: a comment that belongs to a block has none behind it")
                notes = {}
            if line.startswith("    ") and (not self.prose or not self.prose[-1]):
                self.wrong.append(f"{path.name}:{at}: an indented block, which would not be run; put it between fences")
            self.prose.append(line)

    def links(self):
        text = re.sub(r"`[^`]*`", "", "\n".join(self.prose))
        return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)

    def anchors(self):
        """Of its headings, as GitHub makes them."""
        found = set()
        for line in self.prose:
            if re.match(r"#{1,6} ", line):
                slug = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
                found.add(slug if slug not in found else next(
                    name for name in (f"{slug}-{count}" for count in range(1, 100)) if name not in found))
        return found


def matches(expected, printed):
    """Whether what was PRINTED is what was EXPECTED, in which `...` stands for anything."""
    pattern = ""
    for line in expected.rstrip().splitlines():
        if line.strip() == "...":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += r"[^\n]*".join(re.escape(part) for part in line.rstrip().split("...")) + "\n"
    return re.fullmatch(pattern, printed + "\n" if printed else "") is not None


class Host:
    """A directory that stands for a reader's machine, and a shell in it.

    The shell is in a directory that looks like the source, with the program in build/. What pages say of /tmp, of the places where larder
    is installed and where sites have their files is true below `root`, and each port is one that is free.
    """

    PLACES = re.compile(r"(?<![\w./-])/(?=(?:tmp|srv|etc/larder|etc/apache2|etc/nginx|usr/share/larder|usr/sbin/larder|run/larder|var/lib/larder|var/www)\b)")
    PORTS = re.compile(r"(//(?:127\.0\.0\.1|localhost)|--port |127\.0\.0\.1:|localhost:|\*:|listen )(?::?(\d{2,5}))?(?=[^\w.:]|$)")

    # Ports that are somebody's on this machine already, if not used yet.
    LOCK, TAKEN = threading.Lock(), set()

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ld-", dir="/tmp"))
        self.dir.chmod(0o755)
        self.ports, self.slept = {}, False
        self.root, source, self.bin = self.dir / "r", self.dir / "s", self.dir / "bin"
        for path in (source / "build", self.bin, *(self.root / name for name in (
                "tmp", "srv", "etc/larder", "etc/apache2", "etc/nginx", "usr/sbin", "run/larder", "var/lib/larder", "srv/you", "var/www"))):
            path.mkdir(parents=True)
        # A copy, since Apache's user must be able to run it.
        program = source / "build" / "larder"
        shutil.copy(os.path.realpath(os.environ.get("LARDER", ROOT / "build" / "larder")), program)
        for name in ("scripts", "sql", "nginx", "contrib", "man", "docs", "tests", "dashboard", "larder.conf.sample", "README.md"):
            (source / name).symlink_to(ROOT / name)
        self.install(program)
        self.shell = subprocess.Popen(
            ["bash", "--norc"], cwd=source, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            env={"PATH": f"{self.bin}:{os.environ['PATH']}:/usr/sbin", "LARDER": str(program), "HOME": str(self.root / "srv/you"),
                 "HOST": str(self.dir), "LC_ALL": "C.UTF-8", "LARDER_CONFIG": str(self.root / "etc/larder/larder.conf"),
                 # A Redis that the machine lets stand still for a second is waited for.
                 "LARDER_REDIS_TIMEOUT": "3s", "LARDER_REDIS_CONNECT_TIMEOUT": "3s"})

    def install(self, program):
        """What `make install` puts below /usr, with the places in it that are true here."""
        share = self.root / "usr/share/larder"
        for source, target in (("nginx", "nginx"), ("contrib/apache", "apache"), ("contrib/lighttpd", "lighttpd")):
            (share / target).mkdir(parents=True)
            for file in (ROOT / source).glob("*.conf"):
                (share / target / file.name).write_text(self.here(file.read_text()))
        (share / "sql").symlink_to(ROOT / "sql")
        # What is built in: the places of the socket and the database.
        text = f"""#!/bin/sh
: "${{LARDER_SERVER_SOCKET={self.root}/run/larder/larder.sock}}"
export LARDER_SERVER_SOCKET
exec {program} "$@"
"""
        for path in (self.bin / "larder", self.root / "usr/sbin/larder"):
            path.write_text(text)
            path.chmod(0o755)
        (self.bin / "start-apache").symlink_to(ROOT / "tests/system/start-apache")
        (self.bin / "start-nginx").symlink_to(ROOT / "tests/system/start-nginx")

    def port(self, number):
        """The one that stands for NUMBER. The next number is the next port, as scripts/stack has it for a second host."""
        before = self.ports.get(str(int(number) - 1))
        if number not in self.ports:
            with self.LOCK:
                self.ports[number] = before + 1 if before else free_port(2, self.TAKEN)
                self.TAKEN.update((self.ports[number], self.ports[number] + 1))
        return self.ports[number]

    def here(self, text):
        """TEXT with what is true here in place of what it says of a host."""
        def change(found):
            before, number = found[1], found[2]
            if number is None and not before.startswith("//"):
                return found[0]
            colon = ":" if before.startswith("//") else ""
            return f"{before}{colon}{self.port(number or '80')}"
        text = self.PORTS.sub(change, self.PLACES.sub(f"{self.root}/", text))
        return text if os.geteuid() == 0 else text.replace("www-data", os.environ.get("USER", "nobody"))

    def write(self, block):
        path = self.dir / "s" / self.here(block.notes["file"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.here(block.text))
        if block.text.startswith("#!"):
            path.chmod(0o755)

    def run(self, commands, strict, seconds=40):
        """What COMMANDS print in the shell; all of them must succeed where STRICT, else the last one. Fails otherwise."""
        file = self.dir / "step"
        file.write_text(self.here(commands) + "\n")
        before, after = ("set -e\n", "set +e\n") if strict else ("", "")
        mark = b"\x1e"
        try:
            self.shell.stdin.write(f"{before}. {file} </dev/null\n__rc=$?\n{after}printf '\\036%s\\036' $__rc\n".encode())
            self.shell.stdin.flush()
        except BrokenPipeError:
            raise AssertionError("the shell has ended") from None
        printed, deadline = b"", time.monotonic() + seconds
        while printed.count(mark) < 2:
            more = os.read(self.shell.stdout.fileno(), 65536) if select.select([self.shell.stdout], [], [], 0.1)[0] else b""
            printed += more
            # What runs in the background may keep the pipe of a shell that has ended.
            assert more or self.shell.poll() is None, f"a command failed in: {commands}\n{printed.decode(errors='replace')}"
            assert more or time.monotonic() < deadline, f"not done after {seconds} s: {commands}\n{printed.decode(errors='replace')}"
        text, status = printed.split(mark)[:2]
        text = text.decode(errors="replace").replace("\r", "")
        assert status == b"0", f"{status.decode()} is the status of: {commands}\n{text}"
        return "\n".join(line.rstrip() for line in text.rstrip().splitlines())

    def do(self, block):
        """Carries a block out, as far as it tells to do something."""
        if "file" in block.notes:
            self.write(block)
        elif block.is_run():
            for commands, expected in block.steps():
                # Where the page lets a moment pass it may take a longer one here.
                slept, self.slept = self.slept, "sleep " in commands
                deadline = time.monotonic() + (10 if slept or self.slept else 0)
                try:
                    printed = self.run(commands, strict=expected is None)
                    while expected is not None and not matches(self.here(expected), printed) and time.monotonic() < deadline:
                        printed = self.run(commands, strict=False)
                except AssertionError as error:
                    raise AssertionError(f"{block}: {error}") from None
                assert expected is None or matches(self.here(expected), printed), (
                    f"{block}: {commands}\n-- printed\n{printed}\n-- where the page says\n{expected}")

    def close(self):
        """Ends whatever the page has started."""
        for options in self.root.glob("tmp/*/options"):
            subprocess.run([ROOT / "scripts" / "stack", "down", "--dir", options.parent], capture_output=True, timeout=120, check=False)
        try:
            os.killpg(self.shell.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        for file in self.dir.glob("*.pid"):
            try:
                os.kill(int(file.read_text()), signal.SIGTERM)
            except (ProcessLookupError, ValueError):
                pass
        self.shell.wait(20)
        # What ends now may still have something to say.
        while select.select([self.shell.stdout], [], [], 10)[0] and os.read(self.shell.stdout.fileno(), 65536):
            pass
        self.shell.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.shell.stdin.close()
        shutil.rmtree(self.dir, ignore_errors=True)
