#!/usr/bin/env python3
"""Has the Standard Webhooks project's own libraries, for Python and for JavaScript, verify what greenpin sends.

    run.py GREENPIN        GREENPIN is the program, such as target/release/greenpin

What it installs (requirements.txt, package.json) stays in target/signatures. Needs Node.js with npm.
"""

import base64
import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import venv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORK = HERE.parents[3] / "target" / "signatures"
TENANT, ACCOUNT_SID, TOKEN = "acme", "AC-acme", "a-token-for-the-tests-alone"
NUMBER, AGENT = "+914000000001", "+919900000001"
PATIENCE = 60


def install():
    """Both libraries, made once for each version of what names them."""
    wanted = [(HERE / name).read_bytes() for name in ("requirements.txt", "package.json")]
    wanted = hashlib.sha256(b"".join(wanted)).hexdigest()
    folder, mark = WORK / "venv", WORK / "wanted.sha256"
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(WORK, ignore_errors=True)
        venv.create(folder, with_pip=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)
        shutil.copy(HERE / "package.json", WORK)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=WORK, check=True)
        mark.write_text(wanted)
    return folder / "bin" / "python"


class Receiver(ThreadingHTTPServer):
    """Takes everything, and keeps it."""

    def __init__(self):
        self.came = queue.Queue()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def webhook(self):
        return self.came.get(timeout=PATIENCE)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.send_response(204)
        self.end_headers()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.came.put({"headers": headers, "body": body})

    def log_message(self, *_):
        pass


class Server:
    """A server with a store of its own and a tenant."""

    def __init__(self, greenpin, folder):
        self.greenpin, self.folder = greenpin, folder
        (folder / "greenpin.toml").write_text(
            f'[http]\nlisten = "127.0.0.1:0"\n[store]\nurl = "sqlite:{folder}/greenpin.db"\n'
            f'[sip]\nlisten = ["udp:127.0.0.1:0"]\n[recordings]\nurl = "file:{folder}/recordings"\n'
            "[webhooks]\nallow_private = true\n"
        )
        self.command("tenant", "create", TENANT, "--account-sid", ACCOUNT_SID, "--token", TOKEN)
        self.command("number", "add", "--tenant", TENANT, NUMBER, "--mode", "shared", "--pin-length", "6")

    def command(self, *arguments):
        command = [self.greenpin, "--config", self.folder / "greenpin.toml", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)

    def __enter__(self):
        self.log = self.folder / "log"
        with self.log.open("wb") as log:
            settings = {**os.environ, "GREENPIN_LOG": "info", "GREENPIN_LOG_FORMAT": "json"}
            serve = [self.greenpin, "--config", self.folder / "greenpin.toml", "serve"]
            self.process = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=log, env=settings)
        deadline = time.monotonic() + PATIENCE
        while not (url := self.url_when_ready()):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        self.url = url
        return self

    def url_when_ready(self):
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]
        return next((line["http"] for line in lines if line["message"] == "greenpin is ready"), None)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE)

    def request(self, method, path, body):
        credentials = base64.b64encode(f"{ACCOUNT_SID}:{TOKEN}".encode()).decode()
        headers = {"content-type": "application/json", "authorization": f"Basic {credentials}"}
        url, data = f"{self.url}/v1/tenants/{TENANT}{path}", json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)) as response:
            return json.load(response)["response"]

    def event(self, custom_field):
        wanted = {"caller_id_number": NUMBER, "from": AGENT, "custom_field": custom_field}
        self.request("POST", "/greenpin", wanted)


def cases(server, receiver):
    """Webhooks as they came, each with a secret and whether that secret is to verify it."""
    for form in ("standard", "flat"):
        set_ = server.request("PUT", "/settings", {"webhooks": [{"url": receiver.url, "format": form}]})
        endpoint = set_["webhooks"][0]
        first = endpoint.get("secret") or first
        # Bytes that a careless signer or reader would change.
        server.event('ünï "quoted" \\ \u2028 \U0001f4de </script>')
        webhook = receiver.webhook()
        yield webhook, first, True
        yield {**webhook, "body": webhook["body"] + " "}, first, False
        yield {**webhook, "headers": {**webhook["headers"], "webhook-id": "evt_other"}}, first, False
        rotate = f"/webhooks/{endpoint['id']}/rotate-secret"
        second = server.request("POST", rotate, {"overlap": 3600})["secret"]
        server.event("during the rotation")
        webhook = receiver.webhook()
        yield webhook, first, True
        yield webhook, second, True
        second = server.request("POST", rotate, {"overlap": 0})["secret"]
        server.event("after the rotation")
        webhook = receiver.webhook()
        yield webhook, first, False
        yield webhook, second, True
        first = second


PYTHON = """
import json, sys
from standardwebhooks import Webhook
for line in sys.stdin:
    one = json.loads(line)
    try:
        Webhook(one["secret"]).verify(one["body"], one["headers"])
        print("true")
    except Exception:
        print("false")
"""


def main():
    greenpin = Path(sys.argv[1]).resolve()
    python = install()
    with tempfile.TemporaryDirectory() as folder:
        with Server(greenpin, Path(folder)) as server:
            found = list(cases(server, Receiver()))
    lines = "".join(json.dumps({**webhook, "secret": secret}) + "\n" for webhook, secret, _ in found)
    expected = [valid for _, _, valid in found]
    for language, command in (("Python", [python, "-c", PYTHON]), ("JavaScript", ["node", HERE / "verify.js", WORK])):
        ran = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE)
        verdicts = [line == "true" for line in ran.stdout.split()]
        assert verdicts == expected, f"{language}: {verdicts} instead of {expected}"
        print(f"signatures: the {language} library says the same of all {len(found)} webhooks", file=sys.stderr)


main()
