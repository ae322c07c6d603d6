"""The states of a started program as its watch has them, its deadlines, and which of them is due (pure)."""

# Before the program is known to be ready: either the socket table is looked at, or its own trapped calls tell.
LOOKING, TOLD = "looking", "told"
RUNNING = "running"  # it is ready, or nobody can see whether it is: nothing but its end is waited for
STOPPING, KILLED, ENDED = "stopping", "killed", "ended"

KILL, TIDY, LOOK, GIVE_UP = "kill", "tidy", "look", "give up"
# What can fall due in each state.  Of several that are due the first one comes first: a last look before giving up.
_STEPS = {
    LOOKING: (TIDY, LOOK, GIVE_UP),
    TOLD: (TIDY, GIVE_UP),
    RUNNING: (TIDY,),
    STOPPING: (KILL, TIDY),
    KILLED: (TIDY,),
    ENDED: (),
}

NEVER = float("inf")
GRACE = 10.0  # seconds that a program may take to end after SIGTERM
_FIRST, AWAITED, UNAWAITED = 0.001, 0.05, 0.25  # seconds between two looks: the first pause, and the longest
_SHARE = 10  # a pause is at least so many times as long as what the look before it cost


class Deadlines:
    """The times of one clock at which something is due, each under its step; NEVER where nothing is."""

    def __init__(self, now: float, limit: "float | None", *, is_awaited: bool) -> None:
        self.at = {KILL: NEVER, TIDY: NEVER, LOOK: now + _FIRST, GIVE_UP: NEVER if limit is None else now + limit}
        self._pause = _FIRST
        self._longest = AWAITED if is_awaited else UNAWAITED

    def looked(self, now: float, cost: float) -> None:
        """Set the next look after one that cost so many seconds: the pauses double, and cheap looks come sooner."""
        self._pause = min(self._pause * 2, self._longest)
        self.at[LOOK] = now + max(self._pause, _SHARE * cost)


def next_step(now: float, state: str, deadlines: Deadlines) -> "tuple[str, float]":
    """Decide what is to be done next in this state, and in how many seconds: 0 if now, NEVER if nothing will be due."""
    steps = [(step, max(0.0, deadlines.at[step] - now)) for step in _STEPS[state]]
    return min(steps, key=_seconds, default=("", NEVER))


def _seconds(step: "tuple[str, float]") -> float:
    return step[1]
