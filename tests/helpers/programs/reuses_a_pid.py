import subprocess
import sys
import time

import anyport

serves = "import socket\nwith socket.create_server(('127.0.0.1', 20123)): print('ready', flush=True), input()"
first, sleep = subprocess.Popen(["sleep", "60"]), time.sleep


def begin_another(_seconds):
    global second
    time.sleep = sleep
    first.kill()
    first.wait()
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(first.pid - 1))
    second = subprocess.Popen([sys.executable, "-c", serves], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert second.pid == first.pid and second.stdout.readline() == b"ready\n"


time.sleep = begin_another
try:
    anyport.wait(20123, tree=first.pid)
except anyport.TimedOut as error:
    print(error)
second.communicate(b"\n")
