"""who, wait: what has a port, and waiting until it is listened on or unused.

`table` is the kernel's socket table, `occupants` says whose the sockets are, `look` asks about some ports, `verdict`
says what that means, `who` is the verb; `wait` looks again and again, `tree` says which sockets a tree of processes
has.
"""
