import sys
from pathlib import Path

TALKER = Path("talker.py").read_text()
COMMAND = [sys.executable, "-c", TALKER, "{port}"]
