import os
import sys
import warnings

import anyport

warnings.simplefilter("ignore")
if sys.argv[1] == "memory":
    os.environ["ANYPORT_LEDGER"] = "/proc/nowhere"
anyport.find_many(2)
os.closerange(3, 64)
files = [open(f"{sys.argv[2]}/data{n}", "w+b", buffering=0) for n in range(20)]  # noqa: SIM115
for file in files:
    file.write(b"important")
for _ in range(3):
    assert len({*anyport.find_many(2), anyport.find()}) == 3
for file in files:
    file.seek(0)
    assert file.read() == b"important"
os.closerange(3, 64)
assert anyport.find_many(2)
os._exit(0)  # or the files of this test complain that they were closed
