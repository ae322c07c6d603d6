"""The options of `anyport run`, for whoever says more than `anyport run -- COMMAND`."""

from anyport._cli.parser import Parser, add_output, add_selection, selection_of, split_command
from anyport._run.plan import HAND_OVERS, RETRIES, ports_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyport._cli.parser import Options
    from anyport._find.selection import Selection

_DESCRIPTION = """\
Run a program on an unused port, which is held for it from before it starts until
it ends.

  anyport run -- ssh -N -D {port} host
  anyport run --here -v -- npm run dev -- --port {port}
  anyport run --as web --as metrics -- server --port {web} --metrics {metrics}
  anyport run -v --map 8080 -- ./server-with-8080-in-it
  port=$(anyport run --detach -- redis-server --port {port}) || exit

In its arguments {port} stands for the number, {host} for the host that was named
(else 127.0.0.1), {address} for both, {fd} for the descriptor of a socket, and
{web} for the port with that label. Nothing else is replaced, and nothing behind
a dollar sign. It finds the number in PORT too, and in WEB_PORT for a label.
"""

_EPILOG = """\
hand-overs:
  supervised  the port stays held, and only this program and what it starts are
              let in; sudo does not work in it, unless root calls
  shared      the port stays held; a program that sets SO_REUSEADDR, as nearly all
              servers do, can bind it and listen, but so can any other one
  inherited   the program gets a listening socket: LISTEN_FDS, or {fd}
  released    the port is let go at the moment the program starts; if another program
              takes it, this one is started again on another port
  auto        supervised; shared where that is impossible, and then released if the
              program seems to set no SO_REUSEADDR; inherited if an argument has {fd}

With --map 8080 this number means the port for the program and what it starts: for
bind, for connect to this machine, and in what they are told of their own sockets.

It runs in the foreground like the program itself would: terminal, signals and
exit status are the program's.

exit status:
  that of the program, or death by the same signal; 125 if anyport failed, 126 if
  the program can't be executed, 127 if it is not found
"""

_ELSEWHERE = {
    "--shell": "the program finds PORT, or WEB_PORT and the like, in its environment",
    "--shell-file": "--port-file FILE gets the port when the program listens on it",
}


def _parser(defaults: "Options") -> Parser:
    usage = "anyport run [option ...] -- COMMAND [ARG ...]"
    parser = Parser("anyport run", usage, _DESCRIPTION, _EPILOG, _ELSEWHERE)
    how = parser.add_argument_group("how it gets the port")
    how.add_argument("--hand-over", metavar="MODE", help=f"{', '.join(HAND_OVERS)} (the default is auto)")
    how.add_argument(
        "--map", dest="own", metavar="PORT[=LABEL]", action="append",
        help="a number in the program itself, which stands for the port; repeatable",
    )  # fmt: skip
    how.add_argument("--env", metavar="NAME={port}", action="append", help="a variable for the program; repeatable")
    how.add_argument(
        "--retries", metavar="COUNT", help=f"how often it is started again when it loses its port ({RETRIES})"
    )
    ready = parser.add_argument_group("when it is ready: it listens on the port")
    ready.add_argument("--port-file", metavar="FILE", help="write the port to this file then")
    ready.add_argument("--detach", action="store_true", help="print the port then, and leave it in the background")
    ready.add_argument("--log", metavar="FILE", help="with --detach: append its output to this file (/dev/null)")
    ready.add_argument("-v", "--verbose", action="store_true", help="say on standard error which port it is then")
    ready.add_argument(
        "--ready-timeout", metavar="TIME", help="stop it if it is not ready by then (30s if somebody waits for it)"
    )
    add_selection(parser, port=True)
    add_output(parser, json="in the port file, and with --detach: port, hosts and protocols as JSON", shell=False)
    parser.set_defaults(**defaults)
    return parser


def read(args: "Sequence[str]", defaults: "Options") -> "tuple[Options, Selection | None, list[str]]":
    """Return the options of these names, the selection and the command.

    If help is asked for there is no selection, but a text under `help`.
    """
    parser = _parser(defaults)
    before, command = split_command(args, parser)
    options, _ = parser.read(before)
    ours = {name: options.pop(name) for name in defaults}
    if ours["help"]:
        return {**ours, "help": parser.format_help()}, None, command
    options["count"] = ports_for(ours["own"], options["count"], options["as_"])
    return ours, selection_of(options), command
