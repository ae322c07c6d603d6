"""The programs that are run for real: how each is started, what it is asked, what it answers, and on which addresses.

`{port}` and the like are anyport's, `{folder}` is the folder they run in: a copy of programs/files.
"""

import shlex
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM

from helpers.support import IS_ROOT, needs

FILES = Path(__file__).parent.parent / "programs" / "files"
V4, V6 = "127.0.0.1", "::1"
AUTO, SUPERVISED, SHARED = "auto", "supervised", "shared"
INHERITED, RELEASED = "inherited", "released"
KILLED, EXITED = -SIGTERM, 128 + SIGTERM  # what most programs end with when they are asked to end
HTTP = (b"GET / HTTP/1.0\r\n\r\n", b"200 OK")
_SSL_REQUEST = struct.pack("!II", 8, 80877103)  # of PostgreSQL, answered by one letter
ECHO = (b"hello\n", b"hello\n")
_POSTGRES = ("postgres", "initdb")
AS_POSTGRES = "setpriv --reuid=postgres --regid=postgres --clear-groups " if IS_ROOT else ""


@dataclass(frozen=True)
class Program:
    """A program, and one way to run it.

    `command` has it make its own socket, `inherited` take one (empty if it can't).  `asked` is what it is sent and what
    its answer holds, `status` what it ends with on SIGTERM, `made_by` a fixture: the folders it runs in, if not one
    with a copy of the files.
    """

    name: str
    command: str
    asked: tuple[bytes, bytes]
    hosts: tuple[str, ...] = (V4, V6)
    status: int = KILLED
    inherited: str = ""
    reuses: bool = True  # it sets SO_REUSEADDR
    protocol: str = "tcp"
    inherited_env: str = ""
    made_by: str = ""

    def line(self, how: str, folder: Path) -> list[str]:
        """The command for this hand-over, in this folder."""
        return words((self.inherited if how == INHERITED else self.command).replace("{folder}", str(folder)))

    def options(self, how: str) -> list[str]:
        """What `anyport run` is told for this hand-over."""
        told = ["--udp"] if self.protocol == "udp" else []
        if how == INHERITED and self.inherited_env:
            told += ["--env", self.inherited_env]
        if how == INHERITED and "{fd}" in self.inherited + self.inherited_env:
            return told  # that says it
        return told if how == AUTO else [*told, "--hand-over", how]

    def is_held(self, how: str) -> bool:
        """Whether the hold stays beside the program's own sockets."""
        return how in (AUTO, SUPERVISED) or (how == SHARED and self.reuses)

    def hand_overs(self) -> list[str]:
        """Those that it supports."""
        return [AUTO, SUPERVISED, RELEASED, *[SHARED] * self.reuses, *[INHERITED] * bool(self.inherited)]


def found(name: str) -> str:
    """The path of a program: of the one that was installed with this Python, if there is one."""
    if "/" in name:
        return name
    beside = Path(sys.executable).with_name(name)
    if beside.exists():
        return str(beside)
    if name in _POSTGRES:  # Debian keeps them out of PATH, a folder for each version
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
        if folders:
            return str(folders[-1] / name)
    return needs(name)


def words(line: str) -> list[str]:
    """The words of a command line; each program in it by its path, also one that another one becomes."""
    first, *rest = shlex.split(line)
    return [found(first), *(found(word) if word in ("nginx", *_POSTGRES) else word for word in rest)]


PROGRAMS = [
    Program(
        "sshd", "sshd -D -e -f /dev/null -h {folder}/host_key -p {port} -o UsePAM=no -o PidFile=none",
        (b"", b"SSH-2.0-"), status=0, made_by="host_key",
    ),
    Program(
        "nginx", "sh nginx.sh nginx off PORT [::]:PORT", HTTP, status=0,
        inherited="sh nginx.sh nginx off '[::]:PORT ipv6only=off'", inherited_env="NGINX={fd};",
    ),
    Program("nginx-reuseport", "sh nginx.sh nginx off 'PORT reuseport' '[::]:PORT reuseport'", HTTP, status=0),
    Program("redis", "redis-server --port {port} --save ''", (b"PING\r\n", b"+PONG"), status=0),
    Program(
        "postgres", f"{AS_POSTGRES}postgres -F -D . -p {{port}} -h {V4},{V6} -k ''", (_SSL_REQUEST, b"N"),
        status=0, made_by="clusters",
    ),
    Program("node", "node http.js", HTTP, inherited="node http.js"),
    Program("node-cluster", "node cluster.js", HTTP),
    Program("http.server", "python -m http.server {port} --bind ::", HTTP),
    Program("http.server-v4", "python -m http.server {port} --bind {host}", HTTP, (V4,)),
    Program("asyncio", "python streams.py {port}", ECHO),
    Program("raw", "python raw.py tcp {port}", ECHO, (V4,), inherited="python raw.py tcp {fd}", reuses=False),
    Program("uvicorn", "uvicorn app:asgi --port {port}", HTTP, (V4,), inherited="uvicorn app:asgi --fd 3"),
    Program(
        "uvicorn-workers", "uvicorn app:asgi --host :: --port {port} --workers 2", HTTP, status=0,
        inherited="uvicorn app:asgi --fd {fd} --workers 2",
    ),
    Program(
        "gunicorn", "gunicorn --no-control-socket --graceful-timeout 5 -b {address} app:wsgi", HTTP, (V4,), status=0,
        inherited="gunicorn --no-control-socket --graceful-timeout 5 app:wsgi",
    ),
    Program("socat", "socat tcp-listen:{port},fork exec:cat", ECHO, (V4,), EXITED, reuses=False),
    Program("socat-reuseaddr", "socat tcp6-listen:{port},ipv6only=0,reuseaddr,fork exec:cat", ECHO, status=EXITED),
    Program("ncat", "ncat -l -k -e /bin/cat {port}", ECHO),
    Program("go-static", "./server {port}", ECHO, made_by="static"),
    Program(
        "java", "java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC Server {port}", ECHO, status=EXITED, made_by="classes"
    ),
    Program("udp-socat", "socat -T 0.3 udp-listen:{port},reuseaddr,fork exec:cat", ECHO, (V4,), EXITED, protocol="udp"),
    Program(
        "udp-raw", "python raw.py udp {port}", ECHO, (V4,), inherited="python raw.py udp {fd}", reuses=False,
        protocol="udp",
    ),
]  # fmt: skip
