import os
import sys

name, nth, part = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
real, calls = getattr(os, name), 0


def dying(fd, *args):
    global calls
    calls += 1
    if calls == nth:
        if name == "pwrite" and part:
            real(fd, args[0][:part], args[1])
        os.kill(os.getpid(), 9)
    return real(fd, *args)


setattr(os, name, dying)
import anyport

anyport.find()
anyport.find_many(2)
