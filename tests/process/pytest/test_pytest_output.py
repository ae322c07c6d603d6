"""What programs of the plugin's fixtures wrote stands in the reports of the tests that fail, and nowhere else."""

from textwrap import dedent

import pytest

from helpers.suites import run_suite, section, write_suite

# Writes and listens; each connection adds a line to both streams.
TALKER = """
TALKER = '''
import os, socket, sys
os.write(1, b"first, ")
os.write(2, b"second, ")
os.write(1, b"third\\\\n")
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
number = 0
while True:
    client, _ = server.accept()
    number += 1
    os.write(1, b"connection %d, " % number)
    os.write(2, b"accepted\\\\n")
    client.sendall(b"%d" % number)
    client.close()
'''
COMMAND = [sys.executable, "-c", TALKER, "{port}"]

"""


def suite(pytester: pytest.Pytester, test: str, *words: str) -> pytest.RunResult:
    write_suite(pytester, TALKER + dedent(test))
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
    test = """
    @pytest.fixture(scope="module")
    def never(module_run_on_port):
        return module_run_on_port(["sh", "-c", "echo no such database >&2; exit 3"])

    def test_one(never):
        pass

    def test_two(never):
        pass

    def test_three(run_on_port):
        with pytest.raises(anyport.NotReady):
            run_on_port(["sh", "-c", "echo too old >&2; exit 3"])
        assert False
    """
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
    test = """
    LAST_WORDS = '''
    import os, signal, socket, sys
    def stop(*_):
        os.write(2, b"good bye\\\\n")
        os._exit(0)
    signal.signal(signal.SIGTERM, stop)
    os.write(1, b"good morning\\\\n")
    server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    signal.pause()
    '''

    @pytest.fixture
    def fails(run_on_port):
        yield run_on_port([sys.executable, "-c", LAST_WORDS, "{port}"])
        assert False

    def test_it(fails):
        pass
    """
    result = suite(pytester, test)
    result.assert_outcomes(passed=1, errors=1)
    assert section(result, "test_it") == ["good morning", "good bye"]
    assert "ended with" not in "".join(line for line in result.outlines if "Captured output" in line)


def test_a_wider_program_shows_what_it_wrote_since_the_test_began(pytester: pytest.Pytester) -> None:
    """To the tests that use it, directly or by another fixture."""
    test = """
    @pytest.fixture(scope="module")
    def talker(module_run_on_port):
        return module_run_on_port(COMMAND)

    def test_first(talker):
        assert answer(talker.port) == b"0"

    def test_passes(talker):
        answer(talker.port)

    def test_last(talker):
        assert answer(talker.port) == b"0"

    def test_other():
        assert False

    def test_silent(talker):
        assert False
    """
    result = suite(pytester, test)
    result.assert_outcomes(passed=1, failed=4)
    assert section(result, "test_first") == ["first, second, third", "connection 1, accepted"]
    assert section(result, "test_last") == ["connection 3, accepted"]
    assert section(result, "test_other") == section(result, "test_silent") == []
    assert result.stdout.str().count("Captured output") == 2


def test_long_output_is_cut_and_that_is_said(pytester: pytest.Pytester) -> None:
    """The last 32 KiB, from a whole line on, if there are lines."""
    test = """
    CODE = "import os, socket, sys; os.write(1, %r * %d); socket.create_server(('', int(sys.argv[1]))).accept()"

    def test_lines(run_on_port):
        run_on_port([sys.executable, "-c", CODE % (b"a line of 15 b\\n", 10_000), "{port}"])
        assert False

    def test_no_lines(run_on_port):
        run_on_port([sys.executable, "-c", CODE % (b"x", 40_000), "{port}"])
        assert False
    """
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
    test = """
    def test_files(run_on_port):
        with open("out", "w") as out:
            run_on_port(COMMAND, stdout=out, stderr=subprocess.STDOUT)
        assert Path("out").read_text() == "first, second, third\\n"
        assert False

    def test_none(run_on_port):
        run_on_port(COMMAND, stdout=None, stderr=None)
        assert False

    def test_half(run_on_port):
        run_on_port(COMMAND, stdout=subprocess.DEVNULL)
        assert False
    """
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
    test = """
    CODE = "import os, socket, sys; print('a long first line', flush=True);"
    CODE += "socket.create_server(('', int(sys.argv[1]))).accept(); os.system('echo again >/dev/stderr'); print('end')"

    @pytest.fixture(scope="module")
    def talker(module_run_on_port):
        return module_run_on_port([sys.executable, "-c", CODE, "{port}"])

    def test_first(talker):
        pass

    def test_second(talker):
        socket.create_connection(("127.0.0.1", talker.port)).close()
        assert talker.wait(60) != 0
    """
    assert section(suite(pytester, test), "test_second") == ["again", "end"]


def test_show_capture_is_respected(pytester: pytest.Pytester) -> None:
    """Pytest's own option leaves programs out as well."""
    result = suite(
        pytester, "def test_it(run_on_port):\n    run_on_port(COMMAND)\n    assert False", "--show-capture=no"
    )
    assert "Captured" not in result.stdout.str()
