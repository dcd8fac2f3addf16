#!/usr/bin/env python3
"""Holds the running server against its OpenAPI document: clients that were generated from it, then schemathesis.

    run.py GREENPIN        GREENPIN is the program, such as target/release/greenpin

What it installs (requirements.txt) stays in target/openapi, in an environment of its own.
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORK = HERE.parents[3] / "target" / "openapi"
TENANT, ACCOUNT_SID, TOKEN = "acme", "AC-acme", "a-token-for-the-tests-alone"
OPERATOR_TOKEN = "an-operator-token-for-the-tests-alone"
OTHER_TENANT, OTHER_NUMBER = "other", "+914000000099"
EXCLUSIVE = ["+914000000001", "+914000000002", "+914000000003"]
SHARED = {"+914000000011": "4", "+914000000012": "6", "+914000000013": "8"}
PATIENCE = 60
SEED = os.environ.get("GREENPIN_SCHEMATHESIS_SEED", "20261123")
# Cases of each operation in each phase; together one to three minutes.
CASES = os.environ.get("GREENPIN_SCHEMATHESIS_CASES", "100")


def environment():
    """The virtual environment with what requirements.txt asks for; made once for each version of that file."""
    wanted = hashlib.sha256((HERE / "requirements.txt").read_bytes()).hexdigest()
    folder, mark = WORK / "venv", WORK / "venv" / "requirements.sha256"
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)
        mark.write_text(wanted)
    return folder / "bin"


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server with a store of its own, whose trunk leads to an agent that always answers."""

    def __init__(self, greenpin, folder):
        self.greenpin, self.folder = greenpin, folder
        self.agent_port = free_port(socket.SOCK_DGRAM)
        (folder / "greenpin.toml").write_text(
            '[http]\nlisten = "127.0.0.1:0"\nrate_limit = 100000\nrate_burst = 100000\n'
            f'operator_token = "{OPERATOR_TOKEN}"\n'
            f'[store]\nurl = "sqlite:{folder}/greenpin.db"\n'
            '[sip]\nlisten = ["udp:127.0.0.1:0"]\n'
            f'[recordings]\nurl = "file:{folder}/recordings"\n'
            "[webhooks]\nallow_private = true\n"
            f'[[trunks]]\nname = "carrier"\npeer = "sip:127.0.0.1:{self.agent_port}"\naccept_from = ["127.0.0.1/32"]\nkeep_alive = 0\n'
        )
        self.command("tenant", "create", OTHER_TENANT, "--account-sid", "AC-other")
        self.command("number", "add", "--tenant", OTHER_TENANT, OTHER_NUMBER)
        self.command("tenant", "create", TENANT, "--account-sid", ACCOUNT_SID, "--token", TOKEN)
        for number in EXCLUSIVE:
            self.command("number", "add", "--tenant", TENANT, number)
        for number, length in SHARED.items():
            options = ["--mode", "shared", "--pin-length", length, "--max-active", "1000"]
            self.command("number", "add", "--tenant", TENANT, number, *options)

    def command(self, *arguments):
        command = [self.greenpin, "--config", self.folder / "greenpin.toml", *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=PATIENCE).stdout

    def __enter__(self):
        media = str(free_port(socket.SOCK_DGRAM) & ~1)
        agent = ["sipp", "-sn", "uas", "-i", "127.0.0.1", "-p", str(self.agent_port), "-mp", media, "-rtp_echo"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.agent = subprocess.Popen(agent, cwd=self.folder, **quiet)
        serve = [self.greenpin, "--config", self.folder / "greenpin.toml", "serve"]
        self.log = self.folder / "log"
        with self.log.open("wb") as log:
            settings = {**os.environ, "GREENPIN_LOG": "info", "GREENPIN_LOG_FORMAT": "json"}
            self.process = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=log, env=settings)
        deadline = time.monotonic() + PATIENCE
        while not (ready := self.ready_line()):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        self.url, self.sip = ready["http"], ready["sip"].split(" ")[0].removeprefix("udp:")
        return self

    def ready_line(self):
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]
        return next((line for line in lines if line["message"] == "greenpin is ready"), None)

    def __exit__(self, *_):
        for process in (self.process, self.agent):
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()

    def request(self, method, path, body=None):
        url = f"{self.url}/v1/tenants/{TENANT}{path}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, self.url, ACCOUNT_SID, TOKEN)
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
        with opener.open(request, timeout=PATIENCE) as response:
            return json.load(response)["response"]

    def recorded_calls(self, count):
        """Makes real calls that are connected and recorded; returns their ids once their records are closed."""
        number, caller = EXCLUSIVE[0], "+918800000001"
        wanted = {"caller_id_number": number, "from": "+919900000001", "to": caller, "record": True}
        made = self.request("POST", "/greenpin", wanted)
        for _ in range(count):
            options = ["--from", caller, "--pin", made["pin"], "--server", self.sip, "--duration", "2", "--json"]
            self.command("call", number, *options)
        deadline = time.monotonic() + PATIENCE
        while True:
            calls = self.request("GET", f"/greenpin/{made['greenpin_id']}/calls")
            if len(calls) == count and all(call["end_time"] and call["recording_url"] for call in calls):
                break
            assert time.monotonic() < deadline, calls
            time.sleep(0.05)
        self.request("DELETE", f"/greenpin/{made['greenpin_id']}")
        return [call["call_sid"] for call in calls]


    def samples(self):
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=PATIENCE) as response:
            lines = response.read().decode().splitlines()
        return dict(line.removeprefix("greenpin_").rsplit(" ", 1) for line in lines if line[0] != "#")

    def expect_counted(self, calls):
        """Holds the metrics against the calls that were made; the last is let go of after its record is written."""
        expected = {
            "calls_started_total": calls,
            "calls_active": 0,
            'calls_ended_total{call_type="completed"}': calls,
            'pin_tries_total{outcome="accepted"}': calls,
            'pin_tries_total{outcome="refused"}': 0,
            "rtp_port_pairs_in_use": 0,
        }
        deadline = time.monotonic() + PATIENCE
        while (counted := {name: int(self.samples()[name]) for name in expected}) != expected:
            assert time.monotonic() < deadline, counted
            time.sleep(0.05)


def generated_client(tools, document, variables):
    """Generates a client from the document and lets it do a firm's work."""
    target = WORK / "greenpin_client"
    shutil.rmtree(target, ignore_errors=True)
    variables = {**variables, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    options = ["--meta", "none", "--config", HERE / "client.yaml", "--fail-on-warning", "--output-path", target]
    generator = [tools / "openapi-python-client", "generate", "--path", document, *options]
    subprocess.run(generator, check=True, env=variables, cwd=WORK)
    variables["PYTHONPATH"] = str(WORK)
    subprocess.run([tools / "python", HERE / "client_proof.py"], check=True, env=variables)


def generated_types(document):
    """Generates the types of TypeScript from the document, and compiles a program that reads events by their type."""
    source, folder = HERE / "typescript", WORK / "typescript"
    wanted = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()
    mark = folder / "package-lock.sha256"
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(npm, cwd=folder, check=True, timeout=300)
        mark.write_text(wanted)
    shutil.copytree(source, folder, dirs_exist_ok=True)
    tools = folder / "node_modules" / ".bin"
    subprocess.run([tools / "openapi-typescript", document, "--output", "api.ts"], cwd=folder, check=True, timeout=120)
    subprocess.run([tools / "tsc"], cwd=folder, check=True, timeout=120)


def schemathesis(tools, url, variables):
    """Thousands of requests, positive and negative, stateful: no 500, and every answer as the document says."""
    variables = {**variables, "PYTHONPATH": str(HERE), "SCHEMATHESIS_HOOKS": "hooks"}
    # What it found before would be tried first: every run is to be the same.
    shutil.rmtree(WORK / ".schemathesis", ignore_errors=True)
    command = [tools / "st", "--config-file", HERE / "schemathesis.toml", "run", f"{url}/openapi.json"]
    options = ["--seed", SEED, "--max-examples", CASES, "--continue-on-failure", "--warnings", "off"]
    subprocess.run([*command, *options], check=True, env=variables, cwd=WORK)


def main():
    greenpin = Path(sys.argv[1]).resolve()
    WORK.mkdir(parents=True, exist_ok=True)
    tools = environment()
    with tempfile.TemporaryDirectory() as folder, Server(greenpin, Path(folder)) as server:
        document = WORK / "openapi.json"
        document.write_bytes(server.command("openapi"))
        calls = server.recorded_calls(2)
        server.expect_counted(len(calls))
        variables = {
            **os.environ,
            "URL": server.url,
            "TENANT": TENANT,
            "ACCOUNT_SID": ACCOUNT_SID,
            "TOKEN": TOKEN,
            "OPERATOR_TOKEN": OPERATOR_TOKEN,
            "OTHER_TENANT": OTHER_TENANT,
            "OTHER_NUMBER": OTHER_NUMBER,
            "NUMBERS": ",".join([*EXCLUSIVE, *SHARED]),
            "CLIENT_NUMBER": EXCLUSIVE[1],
            "CALLS": ",".join(calls),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        generated_client(tools, document, variables)
        generated_types(document)
        schemathesis(tools, server.url, variables)
        assert server.process.poll() is None, server.log.read_text()
        panics = [line for line in server.log.read_text().splitlines() if "panicked" in line]
        assert not panics, panics


main()
