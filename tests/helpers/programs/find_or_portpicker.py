import os
import sys

if os.getpid() % 2:
    import anyport

    ports = anyport.find_many(10)
else:
    import portpicker

    ports = [portpicker.pick_unused_port() for _ in range(10)]
print(*ports, flush=True)
os.mkdir(f"{sys.argv[1]}/{os.getpid()}")
from anyport._clock import pauses

assert any(len(os.listdir(sys.argv[1])) == 8 for _ in pauses(60))
