"""The environments that larder is run in: each starts real servers from the sample configuration that is shipped for it.

An Environment has a directory, a Redis and a database of its own, copied from one that has the sample and the resources below in it.
What differs from a host that is set up by the samples is their paths alone, which stand at the top of each.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest
import requests

from conftest import FAULTS, ROOT, copy_sql, free_port, listens, wait_for

TOKEN = "environments-admin-token"
# Under [redis]: one that the machine lets stand still for a second is waited for.
PATIENT = "connect_timeout = 20s\ntimeout = 20s\n"
MODULES = pathlib.Path("/usr/lib/apache2/modules")
AS_ROOT = os.geteuid() == 0
# Apache's children never run as root. Whoever they run as must be let in by everything here.
USER = "www-data"
# A request is taken for one from the address that this header names.
FROM = "X-Forwarded-For"

ECHO = """-- name:  echo
-- doc:   What was given.
-- route: GET /api/echo/{word}
-- param: word text 1..200
-- param: note text 0..200 ?
-- key:   echo:{*}
-- shape: object
-- ttl:   5m
-- tags:  echo
SELECT :word AS word, :note AS note;
"""
LARGE = """-- name:  large
-- doc:   More than a FastCGI record holds.
-- route: GET /api/large/{size}
-- param: size integer 1..1000000
-- key:   large:{size}
-- shape: value
-- ttl:   5m
SELECT replace(hex(zeroblob((:size + 1) / 2)), '0', 'x') AS large;
"""


def program():
    return pathlib.Path(os.path.realpath(os.environ.get("LARDER", ROOT / "build" / "larder")))


class Template:
    """What environments are made of: the program and the SQL where any user can read them, a Redis, and a database."""

    def __init__(self, directory):
        self.dir = directory
        self.program = directory / "larder"
        shutil.copy(program(), self.program)
        copy_sql(directory / "sql", echo=ECHO, large=LARGE)
        self.redis_socket = directory / "redis.sock"
        self.redis = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.redis_socket, "--unixsocketperm", "777", "--dir", directory,
             "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL)
        wait_for("Redis listens", lambda: listens(self.redis_socket))
        (directory / "larder.conf").write_text(f"[store]\ndatabase = {directory}/larder.db\nsql = {directory}/sql\n")
        subprocess.run([self.program, "-c", directory / "larder.conf", "migrate", "--sample"], check=True, capture_output=True)

    def close(self):
        self.redis.terminate()
        self.redis.wait(20)


def short_directory():
    """Sockets need short paths, and others must be able to look into it."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="larder-", dir="/tmp"))
    directory.chmod(0o755)
    return directory


@pytest.fixture(scope="module")
def template():
    directory = short_directory()
    made = Template(directory)
    yield made
    made.close()
    shutil.rmtree(directory, ignore_errors=True)


class Environment:
    """One that runs between `start` and `stop`."""

    purge_method = True # whether the web server lets PURGE through
    is_watched = True   # whether /stats, /metrics and /status are there
    parallel = 8        # requests at once that it is asked

    def __init__(self, template, directory, mount):
        self.template, self.dir, self.mount = template, directory, mount
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{mount}"
        self.processes = []
        self.http = requests.Session()
        self.socket = directory / "larder.sock"
        self.config = directory / "larder.conf"
        shutil.copy(template.dir / "larder.db", directory / "larder.db")
        self.config.write_text(
            f"[server]\nsocket = {self.socket}\nworkers = 2\n"
            f"[store]\ndatabase = {directory}/larder.db\nsql = {template.dir}/sql\n"
            f"[redis]\nurl = unix://{template.redis_socket}\nprefix = {directory.name}:\n{PATIENT}"
            f"[l1]\nsize = 8M\n[auth]\nadmin_token = {TOKEN}\n")

    def sample(self, path, name, replaced):
        """A copy of the shipped file PATH in this directory as NAME, in which each text of REPLACED, which must be there, is another."""
        text = (ROOT / path).read_text()
        for old, new in replaced.items():
            assert old in text, f"{old} does not stand in {path}"
            text = text.replace(old, str(new))
        copy = self.dir / name
        copy.write_text(text)
        return copy

    def give_to_user(self):
        """Has everything here belong to whom the server changes to."""
        if AS_ROOT:
            for path in (self.dir, *self.dir.iterdir()):
                shutil.chown(path, USER, USER)

    def run(self, *arguments, **options):
        with open(self.dir / "log", "ab") as log:
            process = subprocess.Popen([str(argument) for argument in arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       cwd=self.dir, start_new_session=True, **options)
        self.processes.append(process)
        return process

    def run_larder(self):
        """One that serves by itself."""
        self.run(self.template.program, "-c", self.config, "serve")
        wait_for("larder listens", lambda: listens(self.socket))

    def log(self):
        return "".join(path.read_text(errors="replace") for path in (self.dir / "log", self.dir / "error.log") if path.exists())

    def start(self):
        self.start_servers()

        def is_ready():
            assert all(process.poll() is None for process in self.processes), self.log()
            try:
                return self.get("/readyz").status_code == 200
            except requests.ConnectionError:
                return False
        wait_for("the server answers", is_ready)

    def stop(self):
        """The web server first."""
        self.http.close()
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        faults = [line for line in self.log().splitlines() if FAULTS.search(line)]
        assert not faults, "\n".join(faults)

    def request(self, method, path, token=None, **options):
        headers = dict(options.pop("headers", {}))
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return self.http.request(method, self.url + path, headers=headers, timeout=30, **options)

    def get(self, path, **options):
        return self.request("GET", path, **options)


class Nginx(Environment):
    """Behind nginx; what starts larder is for others to say."""

    def start_servers(self):
        self.start_larder()
        wait_for("larder listens", lambda: listens(self.socket))
        by = {"/usr/share/larder/nginx/": f"{self.dir}/"}
        # The configuration of larder itself has the same name here.
        upstream = self.sample("nginx/larder.conf", "upstream.conf", {"/run/larder/larder.sock": self.socket})
        for name in ("larder-pass.conf", "larder-errors.conf"):
            self.sample(f"nginx/{name}", name, {})
        if self.mount:
            served = self.sample("nginx/larder-mount.conf", "served.conf", {**by, "/app/larder": self.mount})
        else:
            served = self.sample("nginx/larder-locations.conf", "served.conf", by)
            self.sample("nginx/larder-locations-other.conf", "larder-locations-other.conf", by)
        (self.dir / "nginx.conf").write_text(
            f"daemon off;\npid {self.dir}/nginx.pid;\nerror_log {self.dir}/error.log;\nworker_processes 1;\n"
            + ("user root;\n" if AS_ROOT else "") + "events {}\nhttp {\n    access_log off;\n"
            + f"    set_real_ip_from 127.0.0.1;\n    real_ip_header {FROM};\n"
            + "".join(f"    {kind}_temp_path {self.dir}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            + f"    include {upstream};\n"
            + f"    server {{\n        listen 127.0.0.1:{self.port};\n        include {served};\n    }}\n}}\n")
        self.run("nginx", "-e", self.dir / "error.log", "-c", self.dir / "nginx.conf")


class Spawned(Nginx):
    """Started by spawn-fcgi."""

    script = "larder-spawn-fcgi"

    def start_larder(self):
        self.run(ROOT / "contrib" / "spawn-fcgi" / self.script, env={
            **os.environ, "LARDER_PROGRAM": str(self.template.program), "LARDER_CONFIG": str(self.config),
            "LARDER_SOCKET": str(self.socket), "LARDER_USER": "root"})


class Watched(Spawned):
    """Started by spawn-fcgi and multiwatch."""

    script = "larder-multiwatch"


class Activated(Nginx):
    """Started by systemd with the first connection."""

    def start_larder(self):
        self.run("systemd-socket-activate", f"--listen={self.socket}", self.template.program, "-c", self.config, "serve")


class Apache(Environment):
    """Behind Apache with one of the samples."""

    modules = ()

    def defines(self):
        return {}

    def start_servers(self):
        defines = {"LARDER_MOUNT": self.mount, **self.defines()}
        modules = ("mpm_event", "authz_core", "authz_host", "env", "alias", "remoteip", *self.modules)
        (self.dir / "apache.conf").write_text(
            f'ServerRoot "{self.dir}"\nPidFile apache.pid\nListen 127.0.0.1:{self.port}\nServerName localhost\n'
            f'ErrorLog "{self.dir}/error.log"\nLogLevel warn\nMutex "file:{self.dir}" default\n'
            + (f"User {USER}\nGroup {USER}\n" if AS_ROOT else "")
            + "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in modules)
            + f"RemoteIPHeader {FROM}\nRemoteIPInternalProxy 127.0.0.1\n"
            + self.own_directives()
            + f"<VirtualHost *:{self.port}>\n"
            + "".join(f'    Define {name} "{value}"\n' for name, value in defines.items() if value)
            + f"    Include {ROOT}/contrib/apache/{self.file}\n</VirtualHost>\n")
        self.before()
        self.give_to_user()
        self.run("/usr/sbin/apache2", "-d", self.dir, "-f", self.dir / "apache.conf", "-D", "FOREGROUND")

    def own_directives(self):
        return ""

    def before(self):
        pass


class ApacheProxy(Apache):
    """mod_proxy_fcgi, with kept connections."""

    file, modules, reuse = "larder-proxy-fcgi.conf", ("proxy", "proxy_fcgi"), None

    def defines(self):
        return {"LARDER_SOCKET": self.socket, "LARDER_REUSE": self.reuse}

    def before(self):
        self.run_larder()


class ApacheProxyAnew(ApacheProxy):
    """mod_proxy_fcgi, a connection for each request."""

    reuse = "off"


class ApacheSite(ApacheProxy):
    """The same beside a site of its own, some of which is for nobody, and with the modules that Debian's Apache has besides."""

    modules = (*ApacheProxy.modules, "dir", "mime", "headers")

    def defines(self):
        return {**super().defines(), "LARDER_DASHBOARD": self.dir / "dashboard"}

    def own_directives(self):
        return (f'TypesConfig /dev/null\nDocumentRoot "{self.dir}/site"\n<Directory "{self.dir}/site/kept">\n    Require all denied\n</Directory>\n'
                '<FilesMatch "^\\.ht">\n    Require all denied\n</FilesMatch>\n')

    def before(self):
        super().before()
        shutil.copytree(ROOT / "dashboard", self.dir / "dashboard")
        (self.dir / "site" / "kept").mkdir(parents=True)
        for name in ("open", ".htpasswd", "kept/secret"):
            (self.dir / "site" / name).write_text(name)


class ApacheFcgid(Apache):
    """mod_fcgid, which starts larder."""

    file, modules = "larder-fcgid.conf", ("fcgid",)
    # Who finds the process busy sleeps for a second.
    parallel = 1

    def defines(self):
        return {"LARDER_PROGRAM": self.template.program, "LARDER_CONFIG": self.config}

    def own_directives(self):
        return f'FcgidIPCDir "{self.dir}/fcgid"\nFcgidProcessTableFile "{self.dir}/fcgid.shm"\n'

    def before(self):
        (self.dir / "fcgid").mkdir()


class ApacheCgi(Apache):
    """mod_cgid: a process for each request."""

    file, modules, is_watched = "larder-cgi.conf", ("cgid",), False

    def defines(self):
        return {"LARDER_PROGRAM": self.template.program, "LARDER_CONFIG": self.config}

    def own_directives(self):
        return f'ScriptSock "{self.dir}/cgid.sock"\n'


class Lighttpd(Environment):
    """Behind lighttpd with one of the samples."""

    purge_method = False

    def start_servers(self):
        sample = self.sample(f"contrib/lighttpd/{self.file}", self.file, {
            **self.paths(), 'var.larder_mount = ""': f'var.larder_mount = "{self.mount}"'})
        (self.dir / "www").mkdir()
        (self.dir / "lighttpd.conf").write_text(
            f'server.document-root = "{self.dir}/www"\nserver.bind = "127.0.0.1"\nserver.port = {self.port}\n'
            f'server.errorlog = "{self.dir}/error.log"\nserver.upload-dirs = ("{self.dir}")\n'
            f'server.modules += ("mod_extforward")\nextforward.forwarder = ("127.0.0.1" => "trust")\n'
            f'extforward.headers = ("{FROM}")\ninclude "{sample}"\n')
        self.before()
        self.run("/usr/sbin/lighttpd", "-D", "-f", self.dir / "lighttpd.conf")

    def before(self):
        pass


class LighttpdSocket(Lighttpd):
    """mod_fastcgi and a larder that runs by itself."""

    file = "larder-fastcgi.conf"

    def paths(self):
        return {"/run/larder/larder.sock": self.socket}

    def before(self):
        self.run_larder()


class LighttpdBinPath(Lighttpd):
    """mod_fastcgi, which starts larder."""

    file = "larder-bin-path.conf"

    def paths(self):
        return {"/usr/sbin/larder": self.template.program, "/etc/larder/larder.conf": self.config,
                "/run/lighttpd/larder.sock": self.socket}


class LighttpdCgi(Lighttpd):
    """mod_cgi: a process for each request."""

    file, is_watched = "larder-cgi.conf", False

    def paths(self):
        return {"/usr/sbin/larder": self.template.program, "/etc/larder/larder.conf": self.config}


MOUNT = "/app/larder"
ENVIRONMENTS = {
    "nginx-spawn-fcgi": (Spawned, ""),
    "nginx-multiwatch-mount": (Watched, MOUNT),
    "nginx-systemd": (Activated, ""),
    "apache-proxy-fcgi": (ApacheProxy, ""),
    "apache-proxy-fcgi-anew-mount": (ApacheProxyAnew, MOUNT),
    "apache-fcgid": (ApacheFcgid, ""),
    "apache-fcgid-mount": (ApacheFcgid, MOUNT),
    "apache-cgi": (ApacheCgi, ""),
    "apache-cgi-mount": (ApacheCgi, MOUNT),
    "lighttpd-fastcgi": (LighttpdSocket, ""),
    "lighttpd-fastcgi-mount": (LighttpdSocket, MOUNT),
    "lighttpd-bin-path": (LighttpdBinPath, ""),
    "lighttpd-bin-path-mount": (LighttpdBinPath, MOUNT),
    "lighttpd-cgi": (LighttpdCgi, ""),
    "lighttpd-cgi-mount": (LighttpdCgi, MOUNT),
}
