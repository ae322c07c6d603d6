"""The terminal's foreground group, where the program that stops is a shell, or anything else with groups of its own."""

import os


class Terminal:
    """The terminal at the moment when the program was stopped: whether the program's own group had it."""

    def __init__(self, pid: int) -> None:
        self._group = 0
        try:
            group = os.getpgid(pid)
            if group != os.getpgrp() and _foreground() == group:
                self._group = group
        except OSError:  # no terminal
            return

    def give_back(self) -> None:
        """Give it to that group again, if we have got it meanwhile: the shell above knows only ours."""
        try:
            if self._group and _foreground() == os.getpgrp():
                _foreground(self._group)
        except OSError:
            return


def _foreground(group: int = 0) -> int:
    """The foreground group of our terminal; first made so, if one is named (tcsetpgrp(3))."""
    fd = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if group:
            os.tcsetpgrp(fd, group)
        return os.tcgetpgrp(fd)
    finally:
        os.close(fd)
