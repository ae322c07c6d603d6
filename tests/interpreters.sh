#!/bin/sh
# Print the Python interpreters of this machine from 3.11 on, one for each minor version, pyenv's included.
set -eu
seen=" "
for minor in 11 12 13 14 15; do
    for python in "$HOME"/.pyenv/versions/3."$minor".*/bin/python3 "$(command -v "python3.$minor" || true)"; do
        case "$seen" in *" $minor "*) continue ;; esac
        [ -x "$python" ] || continue
        "$python" -c "import sys; sys.exit(sys.version_info[:2] != (3, $minor))" 2>/dev/null || continue
        seen="$seen$minor "
        echo "$python"
    done
done
