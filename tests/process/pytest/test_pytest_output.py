"""What programs of the plugin's fixtures wrote stands in the reports of the tests that fail, and nowhere else."""

from textwrap import dedent

import pytest

from helpers.suites import run_suite, section, write_suite
from helpers.support import program


def suite(pytester: pytest.Pytester, test: str, *words: str) -> pytest.RunResult:
    """A suite whose COMMAND writes and listens; each connection adds a line to both streams."""
    write_suite(pytester, "from talking import *\n" + dedent(test), talking=program("talking.py"))
    (pytester.path / "talker.py").write_text(program("talker.py"))
    return run_suite(pytester, *words)


@pytest.mark.parametrize("way", [[], ["-s"], ["-n2"], ["-p", "no:xdist"]], ids=str)
def test_a_test_that_fails_shows_what_its_programs_wrote(pytester: pytest.Pytester, way: list[str]) -> None:
    """Both streams in the order in which they were written; of a test that passes nothing."""
    test = """
    def test_fails(run_on_port):
        answer(run_on_port(COMMAND).port)
        assert False

    def test_passes(run_on_port):
        run_on_port(COMMAND)
    """
    result = suite(pytester, test, *way)
    result.assert_outcomes(passed=1, failed=1)
    assert section(result, "test_fails") == ["first, second, third", "connection 1, accepted"]
    assert result.stdout.str().count("first, second") == 1
    result.stdout.re_match_lines(r"-+ Captured output of \S+python\S* -c .*\.\.\. \(port \d+\) -+")


def test_a_program_that_is_never_ready_is_shown_too(pytester: pytest.Pytester) -> None:
    """In each test that fails by it; with the error's hint, and without the library's inside."""
    test = program("suite_never_ready.py")
    result = suite(pytester, test)
    result.assert_outcomes(errors=2, failed=1)
    assert section(result, "test_one") == section(result, "test_two") == ["no such database"]
    assert section(result, "test_three") == ["too old"]
    shown = result.stdout.str()
    assert "E   anyport.errors.NotReady: the program ended with status 3 before it listened on " in shown
    assert "E   hint: its output says why" in shown
    assert "_run/run.py" not in shown
    assert "exit 3 (never ready) -" in shown


def test_the_report_of_a_teardown_shows_it(pytester: pytest.Pytester) -> None:
    """To the last word: that it was told to stop."""
    test = program("suite_last_words.py")
    result = suite(pytester, test)
    result.assert_outcomes(passed=1, errors=1)
    assert section(result, "test_it") == ["good morning", "good bye"]
    assert "ended with" not in "".join(line for line in result.outlines if "Captured output" in line)


def test_a_wider_program_shows_what_it_wrote_since_the_test_began(pytester: pytest.Pytester) -> None:
    """To the tests that use it, directly or by another fixture."""
    test = program("suite_wider_talker.py")
    result = suite(pytester, test)
    result.assert_outcomes(passed=1, failed=4)
    assert section(result, "test_first") == ["first, second, third", "connection 1, accepted"]
    assert section(result, "test_last") == ["connection 3, accepted"]
    assert section(result, "test_other") == section(result, "test_silent") == []
    assert result.stdout.str().count("Captured output") == 2


def test_long_output_is_cut_and_that_is_said(pytester: pytest.Pytester) -> None:
    """The last 32 KiB, from a whole line on, if there are lines."""
    test = program("suite_long_output.py")
    result = suite(pytester, test)
    head, *lines = section(result, "test_lines")
    assert lines == ["a line of 15 b"] * 2184
    assert head == (
        f"[{150_000 - 2184 * 15:,} bytes before this are left out; "
        "give run_on_port a file as stdout and stderr to have them all]"
    )
    head, *lines = section(result, "test_no_lines")
    assert head.startswith("[7,232 bytes before this are left out; ")
    assert lines == ["x" * 32_768]


@pytest.mark.parametrize(
    ("way", "encoding", "shown"), [("-n1", "utf-8", r"\xfe\xffgrün"), ("-s", "ascii", r"\\xfe\\xffgr\xfcn")]
)
def test_any_bytes_can_be_shown(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, way: str, encoding: str, shown: str
) -> None:
    """Also under xdist, which sends them, and to a terminal that has ASCII only."""
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    test = """
    def test_it(run_on_port):
        code = "import os, socket, sys; os.write(1, %r); socket.create_server(('', int(sys.argv[1]))).accept()"
        written = bytes(range(256)).replace(b"\\n", b"").replace(b"\\r", b"") + "grün".encode()
        run_on_port([sys.executable, "-c", code % written, "{port}"])
        assert False
    """
    result = suite(pytester, test, way)
    result.assert_outcomes(failed=1)
    assert shown in result.stdout.str()


def test_a_program_that_ended_says_its_status(pytester: pytest.Pytester) -> None:
    """Also if it wrote nothing."""
    test = """
    CODE = "import socket, sys; socket.create_server(('127.0.0.1', int(sys.argv[1]))).accept(); sys.exit(4)"

    def test_it(run_on_port):
        running = run_on_port([sys.executable, "-c", CODE, "{port}"])
        socket.create_connection(("127.0.0.1", running.port)).close()
        running.wait(60)
        assert False
    """
    result = suite(pytester, test)
    assert section(result, "test_it") == ["[it wrote nothing]"]
    result.stdout.re_match_lines(r"- Captured output of .*\(port \d+, ended with status 4\) -")


def test_streams_of_ones_own_are_ones_own(pytester: pytest.Pytester) -> None:
    """Files get all of it; None is pytest's own capturing; what is not redirected is shown."""
    test = program("suite_own_streams.py")
    result = suite(pytester, test)
    result.assert_outcomes(failed=3)
    assert section(result, "test_files") == section(result, "test_none") == []
    assert section(result, "test_half") == ["second, "]
    result.stdout.fnmatch_lines(["*Captured stdout call*", "first, third"])


@pytest.mark.parametrize(("operator", "shown"), [(">>", ["before", "anew", "after"]), (">", ["anew", "after"])])
def test_a_program_may_open_its_streams_anew(pytester: pytest.Pytester, operator: str, shown: list[str]) -> None:
    """As a shell's `>/dev/stderr` and nginx's `error_log /dev/stderr` do: whatever comes later is shown whole."""
    test = """
    def test_it(run_on_port):
        script = 'echo before; echo anew OPERATOR/dev/stderr; echo after; exec "$0" -c "$1" $PORT'
        run_on_port(["sh", "-c", script, sys.executable, TALKER])
        assert False
    """
    result = suite(pytester, test.replace("OPERATOR", operator))
    assert section(result, "test_it") == [*shown, "first, second, third"]


def test_what_a_later_test_cut_off_does_not_hide_what_it_wrote(pytester: pytest.Pytester) -> None:
    """A wider program's file may become shorter than it was when the test began."""
    test = program("suite_cut_off.py")
    assert section(suite(pytester, test), "test_second") == ["again", "end"]


def test_show_capture_is_respected(pytester: pytest.Pytester) -> None:
    """Pytest's own option leaves programs out as well."""
    result = suite(
        pytester, "def test_it(run_on_port):\n    run_on_port(COMMAND)\n    assert False", "--show-capture=no"
    )
    assert "Captured" not in result.stdout.str()
