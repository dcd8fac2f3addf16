#!/usr/bin/env python3
"""Proves that the committed bundle of the console is what its sources build, then plays the story of a user in a browser.

    run.py GREENPIN        GREENPIN is the program, such as target/release/greenpin

Needs Node.js with npm, and Chromium. Packages and screenshots stay in target/console.
"""

import filecmp
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[1] / "console"
WORK = HERE.parents[3] / "target" / "console"
TENANT, ACCOUNT_SID, TOKEN = "acme", "AC-acme", "a-token-for-the-tests-alone"
OPERATOR_TOKEN = "an-operator-token-for-the-tests-alone"
NUMBER, SHARED, AGENT, CUSTOMER = "+914000000001", "+914000000002", "+919900004417", "+918800003329"
PATIENCE = 60


def install(folder, source):
    """Installs the packages that a lock file names, once for each version of it."""
    wanted = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()
    mark = folder / "wanted.sha256"
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, folder)
        npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(npm, cwd=folder, check=True, timeout=300)
        mark.write_text(wanted)


def check_bundle():
    """Builds the sources anew and compares the result with the committed files."""
    folder = WORK / "build"
    install(folder, SOURCES)
    for name in ("src", "dist"):
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.copytree(SOURCES / "src", folder / "src")
    for name in ("build.mjs", "tsconfig.json"):
        shutil.copy(SOURCES / name, folder)
    subprocess.run(["npm", "run", "--silent", "build"], cwd=folder, check=True, timeout=120)
    names = sorted(path.name for path in (folder / "dist").iterdir())
    assert names == sorted(path.name for path in (SOURCES / "dist").iterdir()), names
    _, differing, _ = filecmp.cmpfiles(folder / "dist", SOURCES / "dist", names, shallow=False)
    assert not differing, f"build the console and commit dist: {differing} are not what the sources build"


def lines(file):
    """The complete lines of JSON in a file that a process writes."""
    return [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]


def wait_for(process, file, found):
    """Waits until a process has written a line, and returns it."""
    deadline = time.monotonic() + PATIENCE
    while not (line := next(filter(found, lines(file)), None)):
        assert process.poll() is None and time.monotonic() < deadline, file.read_text()
        time.sleep(0.02)
    return line


class Server:
    """A server with a store of its own, whose trunk leads to `greenpin phone`."""

    def __init__(self, greenpin, folder):
        self.greenpin, self.folder = greenpin, folder
        self.log, self.phone_log = folder / "log", folder / "phone"
        with self.phone_log.open("wb") as log:
            phone = [greenpin, "phone", "--listen", "udp:127.0.0.1:0", "--tone", "440", "--json"]
            self.phone = subprocess.Popen(phone, stdout=log, stderr=subprocess.STDOUT)
        phone = wait_for(self.phone, self.phone_log, lambda line: line.get("event") == "listening")["address"]
        (folder / "greenpin.toml").write_text(
            f'[http]\nlisten = "127.0.0.1:0"\noperator_token = "{OPERATOR_TOKEN}"\n'
            f'[store]\nurl = "sqlite:{folder}/greenpin.db"\n'
            '[sip]\nlisten = ["udp:127.0.0.1:0"]\npublic_address = "127.0.0.1"\n'
            f'[recordings]\nurl = "file:{folder}/recordings"\n'
            "[webhooks]\nallow_private = true\n"
            f'[[trunks]]\nname = "carrier"\npeer = "sip:{phone}"\naccept_from = ["127.0.0.1/32"]\nkeep_alive = 0\n'
        )
        self.command("tenant", "create", TENANT, "--account-sid", ACCOUNT_SID, "--token", TOKEN)
        self.command("number", "add", "--tenant", TENANT, NUMBER)
        self.command("number", "add", "--tenant", TENANT, SHARED, "--mode", "shared", "--pin-length", "6")

    def arguments(self, *arguments):
        return [self.greenpin, "--config", self.folder / "greenpin.toml", *arguments]

    def command(self, *arguments, check=True):
        return subprocess.run(self.arguments(*arguments), check=check, stdout=subprocess.PIPE, timeout=PATIENCE)

    def __enter__(self):
        with self.log.open("wb") as log:
            settings = {**os.environ, "GREENPIN_LOG": "info", "GREENPIN_LOG_FORMAT": "json"}
            self.process = subprocess.Popen(self.arguments("serve"), stdout=subprocess.DEVNULL, stderr=log, env=settings)
        ready = wait_for(self.process, self.log, lambda line: line["message"] == "greenpin is ready")
        self.url, self.sip = ready["http"], ready["sip"].split(" ")[0].removeprefix("udp:")
        return self

    def __exit__(self, *_):
        for process in (self.phone, self.process):
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def main():
    greenpin = Path(sys.argv[1]).resolve()
    WORK.mkdir(parents=True, exist_ok=True)
    check_bundle()
    install(WORK / "test", HERE)
    for name in ("story.mjs", "pages.mjs"):
        shutil.copy(HERE / name, WORK / "test")
    with tempfile.TemporaryDirectory() as folder, Server(greenpin, Path(folder)) as server:
        variables = {
            **os.environ,
            "URL": server.url,
            "SIP": server.sip,
            "GREENPIN": str(greenpin),
            "CONFIG": str(server.folder / "greenpin.toml"),
            "TENANT": TENANT,
            "ACCOUNT_SID": ACCOUNT_SID,
            "TOKEN": TOKEN,
            "OPERATOR_TOKEN": OPERATOR_TOKEN,
            "NUMBER": NUMBER,
            "AGENT": AGENT,
            "CUSTOMER": CUSTOMER,
            "SCREENSHOTS": str(WORK / "screenshots"),
            "CHROMIUM": shutil.which("chromium") or "/usr/bin/chromium",
        }
        story = subprocess.run(["node", WORK / "test" / "story.mjs"], env=variables, timeout=300)
        logs = f"server:\n{server.log.read_text()}\nphone:\n{server.phone_log.read_text()}"
        assert story.returncode == 0, logs
        assert server.process.poll() is None, server.log.read_text()
        text = server.log.read_text()
        secrets = [AGENT[1:], CUSTOMER[1:], TOKEN, OPERATOR_TOKEN]
        assert "panicked" not in text and not any(secret in text for secret in secrets), text
    print("console: the bundle is current, and the story was seen")


main()
