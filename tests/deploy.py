"""Deploys what `sam build` made into an emulated AWS, uses it, changes it in place and takes it down again.

    tests/deploy.py DIRECTORY_OF_TOOLS

The tools are virtual environments as .ci/run makes them: ministack (the emulator), sam, cargo-lambda and aws. The recipes of
docs/operations.md that are marked with a tick run as they stand there.

What the emulated gateway has no part in is tested elsewhere: it knows no method ANY and so no fallback, answers no mocks and so no preflights
(tests/preflight.py and tests/edge.rs do), and cannot stream (tests/streaming.rs does; here the functions that stream are invoked themselves). It has
no CodeDeploy and no WAF: tests/template.py looks at what the template says of them.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.argv[1]).resolve()
STACK = "ai-chat-system"
STARTED = time.monotonic()


def say(text):
    print(f"{time.monotonic() - STARTED:6.1f} s  {text}", flush=True)


def check(holds, what):
    if not holds:
        raise SystemExit(f"FAILED: {what}")
    say(f"ok: {what}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def recipes():
    """The blocks of docs/operations.md that are marked, by their heading."""
    found = {}
    for section in re.split(r"^## ", (ROOT / "docs/operations.md").read_text(), flags=re.M):
        heading = section.partition("\n")[0] if found else "start"
        found[heading] = re.findall(r"✓\n\n```bash\n(.*?)```", section, flags=re.S)
    return found


class Emulator:
    """ministack with policies enforced, its state in memory."""

    def __init__(self, home):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "PATH": ":".join([*(str(TOOLS / tool / "bin") for tool in ("cargo-lambda", "sam", "aws")), os.environ["PATH"]]),
            "AWS_ENDPOINT_URL": self.url,
            # Those of the tests, which look into the table.
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_PAGER": "",
            "SAM_CLI_TELEMETRY": "0",
            "STACK": STACK,
        }
        self.log = open(home / "emulator.log", "w")
        settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(self.port), "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0", "AUTH": "true"}
        command = [TOOLS / "ministack/bin/ministack"]
        self.process = subprocess.Popen(command, env=self.environment | settings, stdout=self.log, stderr=self.log, start_new_session=True)
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=1)
                return
            except OSError:
                time.sleep(0.2)
        raise SystemExit("the emulator does not start")

    def stop(self):
        # With the functions that it runs.
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()

    def bash(self, script, **variables):
        """Runs a script; stops at what fails. What it printed."""
        command = ["bash", "-euo", "pipefail", "-c", script]
        ran = subprocess.run(command, cwd=ROOT, env=self.environment | variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if ran.returncode != 0:
            print(ran.stdout)
            raise SystemExit(f"FAILED: {script}")
        return ran.stdout

    def recipe(self, heading, block=0, before="", after="", **variables):
        start, script = RECIPES["start"][0], RECIPES[heading][block]
        say(f"recipe: {heading}")
        return self.bash(f"{start}\n{before}\n{script}\n{after}", **variables)

    def aws(self, *words):
        out = subprocess.run(["aws", *words, "--output", "json"], env=self.environment, check=True, text=True, stdout=subprocess.PIPE).stdout
        return json.loads(out) if out.strip() else None


class Client:
    """A client of the API, at the path under which the emulator serves a stage."""

    def __init__(self, url):
        self.url, self.access, self.refresh = url, None, None

    def ask(self, method, path, body=None, **headers):
        """Status, body and headers of the answer."""
        headers = {"Content-Type": "application/json"} | headers
        if self.access:
            headers["Authorization"] = f"Bearer {self.access}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or "null"), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or "null"), error.headers

    def log_in(self, username, password="correct horse battery"):
        status, body, _ = self.ask("POST", "/api/v1/users/login", {"username": username, "password": password})
        assert status == 200, (status, body)
        self.access, self.refresh = body["access"], body["refresh"]

    def sign_up(self, username):
        status, body, _ = self.ask("POST", "/api/v1/users", {"username": username, "password": "correct horse battery"})
        assert status == 201, (status, body)
        self.log_in(username)

    def balance(self):
        status, body, _ = self.ask("GET", "/api/v1/users/token-balance")
        assert status == 200, (status, body)
        return body["token_balance"]

    def chat(self, message="Hello AI"):
        return self.ask("POST", "/api/v1/chats", {"message": message})


def json_in(text):
    """The first JSON object of what a command printed."""
    return json.JSONDecoder().raw_decode(text[text.index("{"):])[0]


RECIPES = recipes()


def main():
    home = Path(tempfile.mkdtemp())
    emulator = Emulator(home)
    try:
        use(emulator)
    except BaseException:
        print((home / "emulator.log").read_text()[-4000:])
        raise
    finally:
        emulator.stop()
        shutil.rmtree(home)
    say("done")


def use(emulator):
    # Everything comes from one address here, and the five clients sign up as fast as they can.
    parameters = "SignupsPerMinute=0 LoginsPerMinute=0 RefreshesPerMinute=0 Release=1"
    emulator.bash(f"sam deploy --no-confirm-changeset --parameter-overrides {parameters}")
    say("sam deploy made the stack")
    resources = emulator.aws("cloudformation", "describe-stack-resources", "--stack-name", STACK)["StackResources"]
    made = [resource for resource in resources if resource["ResourceStatus"] == "CREATE_COMPLETE"]
    check(len(made) == len(resources), f"all {len(resources)} resources are there")
    ids = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}
    table, api = ids["Table"], ids["Api"]
    url = f"{emulator.url}/restapis/{api}/dev/_user_request_"

    ada = Client(url)
    ada.sign_up("ada")
    check(ada.chat()[0] == 200 and ada.balance() == 3900, "somebody signed up and sent a message")

    variables = {"RIGS": "required", "DEPLOYED_URL": url, "DEPLOYED_TABLE": table, "AWS_ENDPOINT_URL_DYNAMODB": emulator.url}
    test = "env -u AWS_ENDPOINT_URL cargo test --quiet -p functions --test system -- deployed:: --nocapture --test-threads 1"
    print(emulator.bash(test, **variables))
    streams(emulator, ada)
    operate(emulator, url, table, ada)


def streams(emulator, ada):
    """The functions that stream, invoked as the gateway would: status and headers, eight zeros, then the answer."""
    for name, resource in (("chats-stream", "ChatsStream"), ("completions-create", "CompletionsCreate")):
        event = json.loads((ROOT / f"events/{name}.json").read_text().replace("<access token>", ada.access))
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(event, file)
            file.flush()
            answer = emulator.bash(f'{RECIPES["start"][0]}\ninvoke "$(resource {resource})" < {file.name}')
        prelude, _, rest = json.JSONDecoder().raw_decode(answer)[0].partition("\0" * 8)
        check(json.loads(prelude)["statusCode"] == 200 and ("event: done" in rest or "chat.completion" in rest), f"{name} answers")


def operate(emulator, url, table, ada):
    made = json_in(emulator.recipe("Make an admin"))
    check(made["role"] == "admin", "an admin was made")
    root = Client(url)
    root.log_in("root", made["password"])

    # In place: other values, and everything that was there is there afterwards.
    before = ada.ask("GET", "/api/v1/chats")[1], ada.balance()
    emulator.recipe("Raise a limit, change a price")
    check((ada.ask("GET", "/api/v1/chats")[1], ada.balance()) == before, "the update changed no account and ended no session")
    balance = ada.balance()
    check(ada.chat()[0] == 200 and ada.balance() == balance - 50, "a message costs the new price")

    keys = lambda: {key["kid"] for key in ada.ask("GET", "/.well-known/jwks.json")[1]["keys"]}
    old = keys()
    emulator.recipe("Rotate the signing seed")
    check(ada.balance() == balance - 50, "an access token of the old key is still good")
    status, body, _ = ada.ask("POST", "/api/v1/token/refresh", {"refresh": ada.refresh})
    check(status == 200, "a refresh token of the old key gets a pair")
    ada.access, ada.refresh = body["access"], body["refresh"]
    check(len(keys() - old) == 1 and ada.balance() == balance - 50, "the pair is of a new key, and good")
    listed = emulator.recipe("Rotate the signing seed", 1)
    first = sorted(line.split() for line in listed.splitlines() if line.startswith("KEY#"))
    check({line[0].removeprefix("KEY#") for line in first} == keys(), "the keys are listed")
    gone = next(iter(old))
    emulator.recipe("Rotate the signing seed", 1, after=f"revoke KEY#{gone}")
    check(keys() == keys() - old, "a key that was revoked is no longer published")

    emulator.recipe("Ship one function")
    check(ada.balance() == balance - 50, "a function that was shipped alone answers")

    _, _, headers = ada.ask("GET", "/api/v1/users/me")
    line = emulator.recipe("One request's story, one user's story", REQUEST=headers["X-Request-Id"])
    print(line[:3000])
    check(json_in(line)["endpoint"] == "users-profile", "the line of a request is found by its id")
    story = root.ask("GET", "/api/v1/admin/users/ada/chats")
    check(story[0] == 200 and len(story[1]["data"]) == len(ada.ask("GET", "/api/v1/chats")[1]["data"]), "an admin reads what somebody was charged for")

    checked = json_in(emulator.recipe("Check the books"))
    check(checked["wrong"] == [] if "wrong" in checked else True, f"the books are right: {json.dumps(checked)}")

    rotate_provider_key(emulator, ada)

    known = ada.balance(), ada.ask("GET", "/api/v1/chats")[1]
    emulator.recipe("Restore the table")
    check((ada.balance(), ada.ask("GET", "/api/v1/chats")[1]) == known, "the restored table has what the old one had")
    check(ada.chat()[0] == 200 and ada.balance() == known[0] - 50, "messages go on in the restored table")
    old_balance = emulator.aws("dynamodb", "get-item", "--table-name", table, "--key", json.dumps({"pk": {"S": "USER#ada"}, "sk": {"S": "USER"}}))
    check(old_balance["Item"]["balance"]["N"] == str(known[0]), "and none in the old one")

    emulator.recipe("Tear down")
    stacks = emulator.aws("cloudformation", "list-stacks", "--stack-status-filter", "CREATE_COMPLETE", "UPDATE_COMPLETE", "ROLLBACK_COMPLETE")
    check(STACK not in {stack["StackName"] for stack in stacks["StackSummaries"]}, "the stack is gone")
    tables = emulator.aws("dynamodb", "list-tables")["TableNames"]
    check(tables == [table], "its own table outlived it")


class Provider(ThreadingHTTPServer):
    """A model that answers whoever has the right key."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Completions)
        self.key, self.refused = "sk-old", 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Completions(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {self.server.key}":
            self.server.refused += 1
            return self.reply(401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}})
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "It has the key"}}
        usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
        self.reply(200, {"id": "1", "object": "chat.completion", "created": 1, "model": "small", "choices": [choice], "usage": usage})

    def reply(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def rotate_provider_key(emulator, ada):
    heading = "Use and rotate a provider's key"
    provider = Provider()
    emulator.recipe(heading, KEY="sk-old", MODEL="small", MODEL_URL=f"http://127.0.0.1:{provider.server_port}/v1")
    answers = lambda: ada.chat()[1].get("chat", {}).get("response") == "It has the key"
    check(answers(), "the provider is asked with the key of the secret")
    emulator.recipe(heading, 1, KEY="sk-new")
    provider.key = "sk-new"
    check(answers() and provider.refused == 1, "the new key is used without a deployment, after one refusal")
    provider.key = "sk-newer"
    balance = ada.balance()
    check(ada.chat()[0] == 502 and ada.balance() == balance, "a key that is refused costs nobody anything")
    provider.key = "sk-new"


main()
