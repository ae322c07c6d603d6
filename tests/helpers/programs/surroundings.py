import fcntl
import os
import sys

found = []
for fd in os.listdir("/proc/self/fd"):
    try:
        found.append((int(fd), os.readlink("/proc/self/fd/" + fd), fcntl.fcntl(int(fd), fcntl.F_GETFL)))
    except OSError:  # that of this listing
        continue
with open(sys.argv[1], "w") as file:
    print(*sorted(found), sep="\n", file=file)
