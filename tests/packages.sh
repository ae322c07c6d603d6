#!/bin/sh
# Install Debian packages that are missing, when we may; else say what will be skipped for want of them.
# Each argument is a package, or COMMAND:PACKAGE for a package that is needed only if the command is not there.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
missing=
for each in "$@"; do
    case "$each" in
        *:*) command -v "${each%%:*}" >/dev/null || missing="$missing ${each#*:}" ;;
        *) missing="$missing $each" ;;
    esac
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing$missing"
    apt-get update -qq
    # Nothing that is installed gets started: a test machine needs no sshd of its own.
    # shellcheck disable=SC2086
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
else
    echo "not installed:$missing (apt-get install$missing); the tests that need them will be skipped" >&2
fi
