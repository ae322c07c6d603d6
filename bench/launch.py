"""Run commands, one for each line of standard input, and write the wall time and peak memory of each.

A line is the ledger's file and the command's words, with tabs between; the answer is seconds and KiB.

The kernel counts the memory of whoever starts a program in with the program's own.  So this is a program by itself,
without `os` and `site`, and its fork does the work: that has only the pages that it touches.
"""

import posix
import sys
import time


def main() -> None:
    child = posix.fork()
    if child:
        posix.waitpid(child, 0)
        return
    for line in sys.stdin:
        ledger, *words = line.rstrip("\n").split("\t")
        print(*run(words, {**posix.environ, b"ANYPORT_LEDGER": ledger.encode()}), flush=True)


def run(words: list[str], environment: dict[bytes, bytes]) -> tuple[float, int]:
    quiet = [(posix.POSIX_SPAWN_OPEN, fd, "/dev/null", posix.O_WRONLY, 0) for fd in (1, 2)]
    begin = time.perf_counter()
    pid = posix.posix_spawn(words[0], words, environment, file_actions=quiet)
    _, status, usage = posix.wait4(pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        raise SystemExit(f"{words} ended with wait status {status}")
    return seconds, usage.ru_maxrss


main()
