import os
import resource

import anyport
import anyport._who.occupants

who, wait = anyport.who, anyport.wait
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    pass
for ask in (lambda: who(20123), lambda: wait(20123, timeout=0)):
    try:
        ask()
    except anyport.ResourceLimit as error:
        print(error, "|", error.hint)
