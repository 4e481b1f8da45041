"""Holds the OpenAPI document against the world: a linter, a typed client that is generated from it, a collection of requests, and schemathesis,
which attacks the local system with what it says.

Usage: run.py <directory of Node> <schemathesis>, with cargo and cargo-lambda in the path. Seed and number of examples of each operation are the
environment's SEED and EXAMPLES."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from string import Template
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DOCUMENT = ROOT / "docs" / "openapi.json"

# Who is attacked is not who waits: what every request of one network or one account shares is off, and tokens live for as long as it takes.
VARIABLES = {
    "SIGNUPS_PER_MINUTE": "0",
    "LOGINS_PER_MINUTE": "0",
    "REFRESHES_PER_MINUTE": "0",
    "CHATS_PER_MINUTE": "0",
    "SIGNUP_TOKENS": "1000000000",
    "ACCESS_TOKEN_SECONDS": "86400",
    "REFRESH_TOKEN_SECONDS": "86400",
}


class Site:
    """The local system at a free port."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = ["cargo", "run", "--quiet", "-p", "local", "--", "--memory", "--port", str(self.port)]
        self.log = open(ROOT / ".local" / "openapi.log", "wb")
        self.process = subprocess.Popen(command, cwd=ROOT, env=os.environ | VARIABLES, stdout=self.log, stderr=self.log)

    def __enter__(self) -> "Site":
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/openapi.json") as reply:
                    assert json.load(reply) == json.loads(DOCUMENT.read_text(encoding="utf-8")), "it serves another document"
                    return self
            except (OSError, json.JSONDecodeError):
                time.sleep(0.5)
        self.__exit__()
        sys.exit(f"the local system does not start: {self.log.name}")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def post(self, path: str, body: Any, authorization: str = "") -> Any:
        headers = {"Content-Type": "application/json", "Authorization": authorization}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def attacker(self) -> dict[str, str]:
        """An admin, with something to find: a user of the name that the document shows, and a conversation."""
        self.post("/api/v1/users", {"username": "grace", "password": "nobody is to guess it"})
        admin = {"username": "root", "password": "nor is this to be guessed"}
        lambda_ = ["cargo-lambda", "lambda", "invoke", "admin-bootstrap", "-A", "127.0.0.1", "-P", str(self.port), "--data-ascii"]
        subprocess.run([*lambda_, json.dumps(admin)], check=True, stdout=subprocess.DEVNULL)
        login = self.post("/api/login", admin)
        bearer = f"Bearer {login['access']}"
        key = self.post("/api/v1/api-keys", {"name": "schemathesis"}, bearer)
        chat = self.post("/api/v1/chats", {"message": "Hello AI", "conversation_id": "new"}, bearer)["chat"]
        return {
            "ACCESS_TOKEN": login["access"],
            "AUTH_KEY": login["token"],
            "API_KEY": key["api_key"]["key"],
            "CHAT_ID": chat["id"],
            "CONVERSATION_ID": chat["conversation_id"],
        }


def check_collection() -> None:
    """Every operation is a request."""

    def requests(item: Any) -> int:
        return sum(map(requests, item["item"])) if "item" in item else 1

    found = requests(json.loads((HERE / "collection.json").read_text(encoding="utf-8")))
    operations = sum(map(len, json.loads(DOCUMENT.read_text(encoding="utf-8"))["paths"].values()))
    assert found == operations, f"{found} requests for {operations} operations"
    print(f"collection.json: {found} requests")


def main(node_home: str, schemathesis: str) -> None:
    node = Path(node_home) / "bin" / "node"
    environment = os.environ | {"PATH": f"{node.parent}{os.pathsep}{os.environ['PATH']}", "REDOCLY_TELEMETRY": "off"}

    def npm(*words: str) -> None:
        command = [node, Path(node_home) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js", *words]
        subprocess.run(command, cwd=HERE, env=environment, check=True)

    npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
    npm("run", "--silent", "lint")
    npm("run", "--silent", "client")
    npm("run", "--silent", "collection")
    check_collection()
    with Site() as site:
        subprocess.run([node, "session.ts", site.url], cwd=HERE, check=True)
        # A directory of its own: nothing of an earlier run decides what this one tries.
        work = ROOT / ".local" / "schemathesis"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        config = Template((HERE / "schemathesis.toml").read_text(encoding="utf-8")).substitute(site.attacker())
        (work / "schemathesis.toml").write_text(config, encoding="utf-8")
        command = [schemathesis, "run", DOCUMENT, "--url", site.url]
        command += ["--seed", os.environ.get("SEED", "1"), "--max-examples", os.environ.get("EXAMPLES", "20"), "--continue-on-failure"]
        # Hooks are found where Python finds modules.
        hooks = {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(command, cwd=work, env=os.environ | hooks, check=True)


if __name__ == "__main__":
    main(*(str(Path(given).resolve()) if i == 0 else given for i, given in enumerate(sys.argv[1:])))
