import os

import anyport

ports = [anyport.find() for _ in range(40)]  # the parent has numbers claimed ahead when it forks
for _ in range(6):
    if os.fork() == 0:
        os.write(1, (" ".join(str(anyport.find()) for _ in range(100)) + "\n").encode())
        os._exit(0)
ports += [anyport.find() for _ in range(100)]
for _ in range(6):
    assert os.wait()[1] == 0
print(*ports)
