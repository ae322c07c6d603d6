from pathlib import Path

from anyport._testing import tree
from suite import SERVER, answer, can_be_bound

tree._GRACE = 0.3  # seconds, instead of ten


def test_it(run_on_port):
    behind = ["sh", "-c", Path("before").read_text() + '"$@"; true', "sh", *SERVER]
    running = run_on_port(["sh", "-c", '"$@" & while :; do wait; read _ <pipe; done', "sh", *behind])
    pid = int(answer(running.port))
    assert pid != running.pid
    Path("ports").write_text(f"{pid} {running.port}")


def test_afterwards():
    pid, port = map(int, Path("ports").read_text().split())
    assert can_be_bound(port, reuse=True)
    assert not Path(f"/proc/{pid}/status").exists() or "(zombie)" in Path(f"/proc/{pid}/status").read_text()
