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
        wait "$server" 2>/dev/null || true
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
fetch() { # URL SECONDS: print what the server answers; wait for it that long
    "$python" - "$@" <<'PYTHON'
import sys, time, urllib.error, urllib.request

url, end = sys.argv[1], time.monotonic() + float(sys.argv[2])
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
while True:
    try:
        print(opener.open(url, timeout=5).read().decode().strip())
        break
    except urllib.error.URLError as error:
        if time.monotonic() > end:
            sys.exit(f"{url} does not answer: {error.reason}")
        time.sleep(0.05)
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

say 'the main job: a real server on an unused port'
page='hello from the port that anyport found'
echo "$page" >"$folder/index.html"
printf '$ port=$(anyport); echo "$port"\n'
port=$("$anyport")
echo "$port"
printf '$ python3 -m http.server "$port" --bind 127.0.0.1 &\n'
"$python" -m http.server "$port" --bind 127.0.0.1 --directory "$folder" >"$folder/log" 2>&1 &
server=$!
printf '$ fetch http://127.0.0.1:%s/   # urllib, again until the server is up, at most 10 s\n' "$port"
answer=$(fetch "http://127.0.0.1:$port/" 10) || answer=
printf '%s\n' "$answer"
if [ "$answer" != "$page" ]; then
    echo 'that is not the page; the server says:'
    cat "$folder/log"
    exit 1
fi

say 'while the server runs, the port is refused, and the message says who has it'
status=0
show --in "$port" || status=$?
echo "exit status $status"
[ "$status" -eq 1 ]

say 'stop the server, and ask for its number again'
stop
show "$port"
