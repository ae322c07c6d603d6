"""Find an unused local port, and keep it until the program that needs it has it.

PYTEST_DONT_REWRITE: pytest would do so because of `pytest_plugin`, and warn if anyport was imported before it started.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from anyport._find.find import find as find
    from anyport._find.find import find_many as find_many
    from anyport._hold.hold import Hold as Hold
    from anyport._hold.hold import Holds as Holds
    from anyport._hold.hold import hold as hold
    from anyport._hold.hold import hold_many as hold_many
    from anyport._occupant import Occupant as Occupant
    from anyport._occupant import Process as Process
    from anyport._occupant import Refusal as Refusal
    from anyport._run.run import Running as Running
    from anyport._run.run import run as run
    from anyport._version import __version__ as __version__
    from anyport._who.wait import wait as wait
    from anyport._who.who import who as who
    from anyport.errors import AddressUnavailable as AddressUnavailable
    from anyport.errors import AnyportError as AnyportError
    from anyport.errors import AnyportWarning as AnyportWarning
    from anyport.errors import HandOverUnavailable as HandOverUnavailable
    from anyport.errors import InvalidSelection as InvalidSelection
    from anyport.errors import LedgerError as LedgerError
    from anyport.errors import NotReady as NotReady
    from anyport.errors import NoUnusedPort as NoUnusedPort
    from anyport.errors import PortServerError as PortServerError
    from anyport.errors import ProgramNotExecutable as ProgramNotExecutable
    from anyport.errors import ProgramNotFound as ProgramNotFound
    from anyport.errors import ResourceLimit as ResourceLimit
    from anyport.errors import TimedOut as TimedOut
    from anyport.errors import Unsupported as Unsupported

# Loaded on first use: `import anyport` costs nothing, and the command loads only what it needs.
_HOMES = {
    "__version__": "_version",
    "find": "_find.find",
    "find_many": "_find.find",
    "Hold": "_hold.hold",
    "Holds": "_hold.hold",
    "hold": "_hold.hold",
    "hold_many": "_hold.hold",
    "Running": "_run.run",
    "run": "_run.run",
    "wait": "_who.wait",
    "who": "_who.who",
    "Occupant": "_occupant",
    "Process": "_occupant",
    "Refusal": "_occupant",
    "AddressUnavailable": "errors",
    "AnyportError": "errors",
    "AnyportWarning": "errors",
    "HandOverUnavailable": "errors",
    "InvalidSelection": "errors",
    "LedgerError": "errors",
    "NoUnusedPort": "errors",
    "NotReady": "errors",
    "PortServerError": "errors",
    "ProgramNotExecutable": "errors",
    "ProgramNotFound": "errors",
    "ResourceLimit": "errors",
    "TimedOut": "errors",
    "Unsupported": "errors",
}
__all__ = [
    "AddressUnavailable",
    "AnyportError",
    "AnyportWarning",
    "HandOverUnavailable",
    "Hold",
    "Holds",
    "InvalidSelection",
    "LedgerError",
    "NoUnusedPort",
    "NotReady",
    "Occupant",
    "PortServerError",
    "Process",
    "ProgramNotExecutable",
    "ProgramNotFound",
    "Refusal",
    "ResourceLimit",
    "Running",
    "TimedOut",
    "Unsupported",
    "__version__",
    "find",
    "find_many",
    "hold",
    "hold_many",
    "run",
    "wait",
    "who",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'anyport' has no attribute {name!r}")
    from importlib import import_module

    from anyport.errors import require_linux

    if home in ("_find.find", "_hold.hold", "_run.run"):
        require_linux()
    value = globals()[name] = getattr(import_module(f"anyport.{home}"), name)
    return value


def __dir__() -> "list[str]":
    return __all__
