#!/bin/sh
# Run the tests N times (default 10) beside four busy loops on two cores, each time with another random seed; stop at the
# first failure and print its seed.  TESTS and VENV are those of `make unit`: TESTS=tests/kernel sh tests/busy.sh 20
set -u
runs=${1:-10}
python=${VENV:-.venv}/bin/python
loops= tests=
stop() {
    # shellcheck disable=SC2086
    kill $tests $loops 2>/dev/null
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
"$python" -m pip install --quiet --force-reinstall --no-deps . || exit
# A loop ends with this shell, however that ends: it looks now and then whether its parent is still this one.
loop='import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
while os.getppid() == int(sys.argv[1]):
    for _ in range(100_000): pass'
for _ in 1 2 3 4; do
    "$python" -c "$loop" $$ &
    loops="$loops $!"
done
run=0
while [ "$run" -lt "$runs" ]; do
    run=$((run + 1))
    seed=$("$python" -c 'import random; print(random.randrange(2**32))')
    echo "== run $run of $runs, seed $seed"
    # shellcheck disable=SC2086
    "$python" -m pytest -n auto --randomly-seed="$seed" ${TESTS:-} &  # else a signal to us would wait for its end
    tests=$!
    wait "$tests" || {
        echo "busy: run $run of $runs failed, seed $seed"
        tests=
        exit 1
    }
    tests=
done
echo "busy: all $runs runs passed"
