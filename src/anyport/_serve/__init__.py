"""serve: give ports to other processes.

`owners` are the processes, `pool` has the numbers, `listener` is the socket that is listened on, `connection` what
each client says and is told, `log` what the server says of itself; `lending` gives numbers to processes and takes them
back, and `server` is the loop.
"""
