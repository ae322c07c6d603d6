"""Sandboxes: a seccomp filter that refuses some system calls, and a command that is run under it.

`python tests/helpers/sandboxes.py MODE -- COMMAND`; `within(MODE, *COMMAND)` is the words for that.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from errno import EACCES, EINVAL, ENOSYS, EPERM
from pathlib import Path

from anyport._linux import bpf, libc, pidfd, prctl, seccomp

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, value
Filter = list[Instruction]

DOCKER = Path(__file__).with_name("docker_profile.json")
_JSET_K = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_SECCOMP_RET_ERRNO = 0x00050000
_NR_AT, _ARCH_AT, _ARGS_AT = 0, 4, 16  # in struct seccomp_data, whose arguments have 8 bytes each, the low ones first
_SYS_pidfd_open, _SYS_pidfd_getfd = 434, 438  # on every architecture
_SYS_socket = {"x86_64": 41, "aarch64": 198}
_SYS_process_vm_readv = {"x86_64": 310, "aarch64": 270}
_AF_INET, _AF_INET6, _AF_NETLINK = 2, 10, 16
_PR_CAPBSET_DROP = 24
_CAP_SYS_PTRACE = 19
_FOR_PTRACE = ("kcmp", "pidfd_getfd", "process_madvise")  # what that capability is for in Docker's profile


def refuse(
    number: int, errno: int, argument: int = 0, tests: Sequence[tuple[int, int]] = (), *, unless: bool = False
) -> Filter:
    """This call fails; with tests of an argument, (jump, value), if one of them is true, or `unless` one is."""
    program: Filter = [(bpf.BPF_LD_W_ABS, 0, 0, _ARGS_AT + 8 * argument)] if tests else []
    for left in reversed(range(len(tests))):
        code, value = tests[len(tests) - 1 - left]
        program.append((code, left + unless, int(not (left or unless)), value))
    program.append(_fail(errno))
    return [(bpf.BPF_LD_W_ABS, 0, 0, _NR_AT), (bpf.BPF_JEQ_K, 0, len(program), number), *program]


def _fail(errno: int) -> Instruction:
    return (bpf.BPF_RET_K, 0, 0, _SECCOMP_RET_ERRNO | errno)


def docker(*, ptrace: bool = False) -> Filter:
    """What Docker's default profile comes to on x86-64; with `ptrace` after --cap-add SYS_PTRACE."""
    profile = json.loads(DOCKER.read_text())
    refused = {name: number for name, number in profile["refused"].items() if not (ptrace and name in _FOR_PTRACE)}
    program: Filter = [
        (bpf.BPF_LD_W_ABS, 0, 0, _NR_AT), (bpf.BPF_JGE_K, 0, 1, profile["newest"] + 1), _fail(ENOSYS),
    ]  # fmt: skip
    for number in profile["unknown"].values():
        program += refuse(number, ENOSYS)
    for number in refused.values():
        program += refuse(number, EPERM)
    for call in profile["refused_if"].values():
        for word, code in (("has_any_of", _JSET_K), ("is_one_of", bpf.BPF_JEQ_K), ("is_none_of", bpf.BPF_JEQ_K)):
            if tests := [(code, value) for value in call.get(word, [])]:
                program += refuse(call["number"], EPERM, call["argument"], tests, unless=word == "is_none_of")
    return program


def drop_capabilities(*more: int) -> None:
    """Have root keep only those capabilities that Docker leaves it, and these, from the next exec on."""
    kept = {*json.loads(DOCKER.read_text())["capabilities"], *more}
    for each in set(range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1)) - kept:
        with contextlib.suppress(PermissionError):  # an ordinary user has none to lose
            libc.call("prctl", _PR_CAPBSET_DROP, each, 0, 0, 0)


def _filter(mode: str, here: seccomp.Machine) -> Filter:
    with_listener = [(_JSET_K, seccomp.SECCOMP_FILTER_FLAG_NEW_LISTENER)]
    modes: dict[str, Callable[[], Filter]] = {
        "docker": docker,
        "docker-with-ptrace": lambda: docker(ptrace=True),
        "no-seccomp": lambda: refuse(here.seccomp, EPERM),
        "no-seccomp-enosys": lambda: refuse(here.seccomp, ENOSYS),
        "old-kernel": lambda: refuse(here.seccomp, EINVAL, 1, with_listener),
        "no-getfd": lambda: refuse(_SYS_pidfd_getfd, EPERM),
        "no-getfd-enosys": lambda: refuse(_SYS_pidfd_getfd, ENOSYS),
        "no-netlink": lambda: refuse(_SYS_socket[os.uname().machine], EPERM, 0, [(bpf.BPF_JEQ_K, _AF_NETLINK)]),
        "no-inet": lambda: refuse(
            _SYS_socket[os.uname().machine], EPERM, 0, [(bpf.BPF_JEQ_K, family) for family in (_AF_INET, _AF_INET6)]
        ),
        "no-vm-readv": lambda: refuse(_SYS_process_vm_readv[os.uname().machine], EPERM),
        "no-pidfd-thread": lambda: refuse(_SYS_pidfd_open, EINVAL, 1, [(_JSET_K, pidfd.PIDFD_THREAD)]),
    }
    return modes[mode]()


def enter(mode: str) -> None:
    """Put ourselves under the filter of this mode, and whatever we start or become."""
    here = seccomp.machine()
    assert here
    other = [(bpf.BPF_LD_W_ABS, 0, 0, _ARCH_AT), (bpf.BPF_JEQ_K, 1, 0, here.arch), _fail(ENOSYS)]
    code = bpf.Code([*other, *_filter(mode, here), (bpf.BPF_RET_K, 0, 0, seccomp.SECCOMP_RET_ALLOW)])
    words = (here.seccomp, seccomp.SECCOMP_SET_MODE_FILTER, 0, code.fprog)
    try:
        libc.call("syscall", *words)
    except OSError as error:
        if error.errno != EACCES:
            raise
        prctl.set_no_new_privs()  # an ordinary user, who has to
        libc.call("syscall", *words)
    if mode.startswith("docker"):
        drop_capabilities(*[_CAP_SYS_PTRACE] * (mode == "docker-with-ptrace"))


def within(mode: str, *command: str) -> list[str]:
    """The words that run a command in this sandbox."""
    from helpers.support import unavailable

    if mode.startswith("docker") and os.uname().machine != "x86_64":
        unavailable("Docker's profile is there for x86-64 only")
    return [sys.executable, __file__, mode, "--", *command]


def run_within(mode: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """`anyport run` in a sandbox, to its end."""
    process = start_within(mode, *words)
    output, errors = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def start_within(mode: str, *words: str) -> "subprocess.Popen[str]":
    """`anyport run` in a sandbox."""
    from helpers.support import COMMAND

    return subprocess.Popen(
        within(mode, COMMAND, "run", *words),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


if __name__ == "__main__":
    mode, _, *command = sys.argv[1:]
    enter(mode)
    os.execvp(command[0], command)
