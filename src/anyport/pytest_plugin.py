"""The pytest plugin: unused ports, held ports, and programs on held ports, as fixtures.

pytest loads it in every test run of everybody who has anyport installed.  So at import it needs nothing that pytest has
not imported already, and of anyport nothing until one of its fixtures is used.
"""

from types import ModuleType
from typing import Protocol

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from typing import Any, ParamSpec, TypeVar, Unpack

    from anyport._find.selection import ManyOptions, OneOptions
    from anyport._hold.hold import Hold
    from anyport._run.run import Running, Stream
    from anyport._testing.program import Program

    Programs = list[Program]
    P = ParamSpec("P")
    T = TypeVar("T")

_PROGRAMS = pytest.StashKey["Programs"]()  # those of the fixtures that are set up now


class UnusedPortFactory(Protocol):
    """What `unused_port_factory` is."""

    def __call__(self, port: "int | Iterable[int] | None" = None, **options: "Unpack[OneOptions]") -> int:
        """Return an unused port; the options are those of `anyport.find`."""
        ...


class HeldPortFactory(Protocol):
    """What `held_port_factory` is."""

    def __call__(
        self, port: "int | Iterable[int] | None" = None, *, exclusive: bool = False, **options: "Unpack[OneOptions]"
    ) -> "Hold":
        """Return a held port; the options are those of `anyport.hold`."""
        ...


class RunOnPort(Protocol):
    """What `run_on_port` is."""

    def __call__(  # noqa: PLR0913 - the options of anyport.run
        self,
        command: "Sequence[str]",
        *,
        count: "int | None" = None,
        port: "int | Iterable[int] | None" = None,
        hand_over: str = "auto",
        map_: "int | Iterable[int] | Mapping[int, str] | None" = None,
        variables: "Mapping[str, str] | None" = None,
        retries: int = 5,
        ready_timeout: "float | str" = 30.0,
        detach: bool = False,
        cwd: "str | os.PathLike[str] | None" = None,
        env: "Mapping[str, str] | None" = None,
        stdin: "Stream" = None,
        stdout: "Stream" = None,
        stderr: "Stream" = None,
        process_group: "int | None" = 0,
        **options: "Unpack[ManyOptions]",
    ) -> "Running":
        """Return a program that is ready; the options are those of `anyport.run`."""
        ...


@pytest.fixture(scope="session")
def unused_port_factory() -> UnusedPortFactory:
    """Return a function that gives an unused port, another one at each call; it takes the options of `anyport.find`."""
    _require_linux()
    from anyport._find.find import find

    @_brief
    def unused(port: "int | Iterable[int] | None" = None, **options: "Unpack[OneOptions]") -> int:
        return find(port, **options)

    return unused


@pytest.fixture
def unused_port(unused_port_factory: UnusedPortFactory) -> int:
    """Give an unused TCP port, on every local address.  Nothing holds it."""
    return unused_port_factory()


def _unused_udp_port_factory() -> UnusedPortFactory:
    """Return a function that gives an unused UDP port, another one each time; its options are `anyport.find`'s."""
    _require_linux()
    from anyport._find.find import find

    @_brief
    def unused(port: "int | Iterable[int] | None" = None, **options: "Unpack[OneOptions]") -> int:
        options.setdefault("udp", True)
        return find(port, **options)

    return unused


def _unused_udp_port(unused_udp_port_factory: UnusedPortFactory) -> int:
    """Give an unused UDP port, on every local address.  Nothing holds it."""
    return unused_udp_port_factory()


def pytest_configure(config: pytest.Config) -> None:
    """Add the fixtures for UDP, unless another plugin has their names: pytest-asyncio does.

    Of two plugins with one name pytest takes the one that it loaded last, and that order is nobody's.  That anyport is
    installed must not change tests that don't use it.
    """
    manager = config.pluginmanager
    if any(hasattr(plugin, "unused_udp_port") and not _is_conftest(plugin) for plugin in manager.get_plugins()):
        return
    fixtures = ModuleType("anyport.udp_fixtures")  # a plugin is a module
    vars(fixtures).update(
        unused_udp_port_factory=pytest.fixture(scope="session")(_unused_udp_port_factory),
        unused_udp_port=pytest.fixture(_unused_udp_port),
    )
    manager.register(fixtures, "anyport-udp")


def _is_conftest(plugin: object) -> bool:
    """Tell whether it is a conftest.py: what those define is nearer to the tests, and may ask ours."""
    return (getattr(plugin, "__file__", None) or "").endswith("conftest.py")


def _held_port_factory() -> "Generator[HeldPortFactory]":
    """Give a function that holds an unused port until its scope ends; it takes the options of `anyport.hold`.

    A program that sets SO_REUSEADDR can bind a held port meanwhile, unless the hold is `exclusive`.
    """
    _require_linux()
    from contextlib import ExitStack

    from anyport._hold.hold import hold

    with ExitStack() as stack:

        @_brief
        def held(
            port: "int | Iterable[int] | None" = None, *, exclusive: bool = False, **options: "Unpack[OneOptions]"
        ) -> "Hold":
            return stack.enter_context(hold(port, exclusive=exclusive, **options))

        yield held


held_port_factory = pytest.fixture(_held_port_factory)
class_held_port_factory = pytest.fixture(scope="class")(_held_port_factory)
module_held_port_factory = pytest.fixture(scope="module")(_held_port_factory)
session_held_port_factory = pytest.fixture(scope="session")(_held_port_factory)


@pytest.fixture
def held_port(held_port_factory: HeldPortFactory) -> "Hold":
    """Give a Hold of an unused TCP port, which ends with the test: `held_port.port` is the number."""
    return held_port_factory()


def _run_on_port(request: pytest.FixtureRequest) -> "Generator[RunOnPort]":
    """Give a function that starts a program on a held port, and returns its Running when it listens.

    It takes the options of `anyport.run`: `run_on_port(["redis-server", "--port", "{port}"])`.  The program and what it
    started are stopped when the scope ends, the last started first.  What it writes is shown when a test fails, unless
    `stdout` or `stderr` are given.  Its `stdin` is /dev/null, and its process group is its own.
    """
    _require_linux()
    from contextlib import ExitStack

    from anyport._testing.program import Program

    programs = request.config.stash.setdefault(_PROGRAMS, [])
    with ExitStack() as stack:  # which stops the others too when one can't be stopped

        @_brief
        def start(command: "Sequence[str]", **options: "Any") -> "Running":  # noqa: ANN401
            program = Program(command, request.fixturename)
            programs.append(program)
            stack.callback(program.stop)
            return program.start(options)

        yield start


run_on_port = pytest.fixture(_run_on_port)
class_run_on_port = pytest.fixture(scope="class")(_run_on_port)
module_run_on_port = pytest.fixture(scope="module")(_run_on_port)
session_run_on_port = pytest.fixture(scope="session")(_run_on_port)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have programs that were there before show what they write from now on."""
    for each in item.config.stash.get(_PROGRAMS, ()):
        each.begin_test()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> "Generator[None, pytest.TestReport, pytest.TestReport]":
    """Show what the programs of a test wrote, if it failed."""
    report = yield
    programs = item.config.stash.get(_PROGRAMS, None)
    if programs:
        if report.failed:
            names = getattr(item, "fixturenames", ())
            report.sections += [each.section() for each in programs if each.is_to_be_shown(names)]
        if report.when == "teardown":
            programs[:] = [each for each in programs if not each.is_over]
    return report


def _require_linux() -> None:
    from anyport.errors import require_linux

    require_linux()


def _brief(function: "Callable[P, T]") -> "Callable[P, T]":
    """Return the function with errors that show the test's own line and their hint, not how they came about."""
    from functools import wraps

    from anyport.errors import AnyportError

    @wraps(function)
    def brief(*args: "P.args", **options: "P.kwargs") -> "T":
        __tracebackhide__ = True  # pytest leaves such a frame out
        try:
            return function(*args, **options)
        except AnyportError as error:
            if error.hint:
                error.add_note(f"hint: {error.hint}")
            raise error.with_traceback(None) from None

    return brief
