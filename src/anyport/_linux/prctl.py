"""prctl(2) and linux/prctl.h: what a process can ask for itself."""

from anyport._linux.libc import call

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38


def set_pdeathsig(number: int) -> None:
    """Get this signal when the thread that forked us ends; a program that is set-uid loses it again at exec."""
    call("prctl", PR_SET_PDEATHSIG, number, 0, 0, 0)


def set_dumpable(value: bool) -> None:  # noqa: FBT001 - prctl's own argument
    """Say whether a signal may leave a core dump of us (and same-user processes may look inside)."""
    call("prctl", PR_SET_DUMPABLE, int(value), 0, 0, 0)


def set_child_subreaper() -> None:
    """Become the parent of descendants whose own parent ends, in the place of init."""
    call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_no_new_privs() -> None:
    """Never gain privileges by exec again, nor any descendant: set-uid and file capabilities are void."""
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
