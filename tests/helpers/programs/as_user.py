# ruff: noqa: F401, for the code that follows, and modules that are imported on use
import _blake2
import difflib
import encodings.idna
import importlib
import json
import os
import pkgutil
import shlex
import socket
import sys
import traceback
import typing
import warnings

import anyport

for found in pkgutil.walk_packages(anyport.__path__, "anyport."):
    importlib.import_module(found.name)
from anyport._cli.find import Command

Command(["--from", "80"])  # what argparse imports on use
uid = int(sys.argv.pop(1))
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
from anyport._linux.prctl import set_dumpable

set_dumpable(True)  # as after an exec, which usually makes a user's process
