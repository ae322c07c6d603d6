#!/bin/sh
# The main job before your eyes: find ports in every way, start a real server on one, fetch from it, stop it.
# ANYPORT is the command to run, PYTHON the interpreter for the server and the client.
set -eu

anyport=${ANYPORT:-anyport}
python=${PYTHON:-python3}
folder=$(mktemp -d)
server=

stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        while kill -0 "$server" 2>/dev/null; do sleep 0.05; done
        server=
    fi
}
trap 'stop; rm -rf "$folder"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n# %s\n' "$*"; }
show() { # print the command, run it
    printf '$ anyport%s\n' "${*:+ $*}"
    "$anyport" "$@" 2>&1
}
fetch() { # URL: print what the server answers
    "$python" - "$1" <<'PYTHON'
import sys, urllib.request

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
print(opener.open(sys.argv[1], timeout=5).read().decode().strip())
PYTHON
}
listener() { # PORT: print the pid of the process that listens on it
    "$anyport" who --tcp "$1" | sed -n '1s/.*(pid \([0-9]*\), .*) listens .*/\1/p'
}
taken() { # PORT [OPTION [ADDRESS]]: try to take it like a program that sets this option, or none
    "$python" - "$@" <<'PYTHON'
import socket, sys

how = f"with {sys.argv[2] if sys.argv[2:] else 'no option'}{', on '.join(['', *sys.argv[3:]])}:"
with socket.socket() as sock:
    if sys.argv[2:]:
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, sys.argv[2]), 1)
    try:
        sock.bind((sys.argv[3] if sys.argv[3:] else "", int(sys.argv[1])))
        sock.listen()
        print(how, "taken")
    except OSError as error:
        print(how, error)
PYTHON
}

say 'any unused TCP port (in place of: bind to port 0, print, close)'
show
say 'the same from the range the kernel draws from; the note says what that costs'
show --ephemeral
say 'the first unused number from 1080 on (in place of: netstat in a loop, ss | awk | sort)'
show --from 1080
say 'the same question for one address (in place of: perl, bind on 127.1); 1080 may be claimed by the call before'
show --from 1080 --host 127.0.0.1
say 'one of a list (in place of: lsof over 7002 ... 7011)'
show --in 7002-7011
say 'these numbers first, then any'
show 8080 8081
say 'the same number each time for a name'
show --name demo
show --name demo
say 'three at once; and two with labels, for eval'
show -n 3
show --as web --as db --shell

say 'the main job: run a real server on a port that is held for it'
page='hello from the port that anyport found'
echo "$page" >"$folder/index.html"
printf '$ port=$(anyport run --detach -- python3 -m http.server {port} --bind 127.0.0.1); echo "$port"\n'
port=$("$anyport" run --detach --log "$folder/log" -- \
    "$python" -m http.server '{port}' --bind 127.0.0.1 --directory "$folder")
echo "$port"
server=$(listener "$port")
printf '$ fetch http://127.0.0.1:%s/   # once: the port was printed when the server listened\n' "$port"
answer=$(fetch "http://127.0.0.1:$port/") || answer=
printf '%s\n' "$answer"
if [ "$answer" != "$page" ]; then
    echo 'that is not the page; the server says:'
    cat "$folder/log"
    exit 1
fi

say 'meanwhile others try to take it: without SO_REUSEADDR, with it, and where the server does not listen'
taken "$port"
taken "$port" SO_REUSEADDR
taken "$port" SO_REUSEADDR 127.0.0.2

say 'while the server runs, the port is refused, and the message says who has it'
status=0
show --in "$port" || status=$?
echo "exit status $status"
[ "$status" -eq 1 ]

say 'who has it, with all that is known of it'
show who "$port"

say 'stop the server, and ask for its number again'
stop
show "$port"

if "$anyport" run --hand-over supervised -- true 2>/dev/null; then
    say 'a server with its own number in it, 8000: it believes that it has it'
    printf '$ anyport run --map 8000 --detach -- python3 -m http.server --bind 127.0.0.1\n'
    port=$("$anyport" run --map 8000 --detach --log "$folder/mapped" -- \
        "$python" -u -m http.server --bind 127.0.0.1 --directory "$folder")
    echo "$port"
    server=$(listener "$port")
    printf '$ fetch http://127.0.0.1:%s/\n' "$port"
    fetch "http://127.0.0.1:$port/"
    grep Serving "$folder/mapped"
    stop
fi

say 'hold a port as long as this script runs: nobody can bind it, but servers that set SO_REUSEADDR'
show hold --while $$ 20123
taken 20123
taken 20123 SO_REUSEADDR
show hold --release 20123
taken 20123
