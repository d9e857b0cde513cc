"""A home of its own for a real opencode, a server in it, and a repository to work on.

Nothing leaves this machine: the model is on loopback, and all other addresses are behind a proxy
that is not there. A server lives for at most `LIFETIME_S`, and is ended by its own id.
"""

import json
import os
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LIFETIME_S = 80
NOWHERE = "http://127.0.0.1:9"
LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))
MODELS = ("fake-1", "gpt-5-fake")  # opencode gives apply_patch to a gpt-5, edit and write to others
PERSON = {"NAME": "Dev", "EMAIL": "dev@example.com", "DATE": "2026-11-22T12:00:00Z"}


def opencode() -> str | None:
    """The opencode to run: the one OPENCODE_BIN names, else the one on PATH."""
    return shutil.which(os.environ.get("OPENCODE_BIN") or "opencode")


class Lab:
    """opencode at home in `home`, asking the model at `model_url`; `data` is its data folder."""

    def __init__(
        self, opencode: str, home: Path, model_url: str, allowed: tuple[str, ...] = ()
    ) -> None:
        self.opencode = opencode
        self.data = home / ".local" / "share" / "opencode"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
            "NO_PROXY": "127.0.0.1",
            "npm_config_registry": NOWHERE,
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            **{f"GIT_AUTHOR_{key}": value for key, value in PERSON.items()},
            **{f"GIT_COMMITTER_{key}": value for key, value in PERSON.items()},
        }
        limit = {"context": 128000, "output": 8192}
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": model_url, "apiKey": "none"},
            "models": {name: {"name": name, "tool_call": True, "limit": limit} for name in MODELS},
        }
        config = {
            "autoupdate": False,
            "share": "disabled",
            "model": f"local/{MODELS[0]}",
            "small_model": f"local/{MODELS[0]}",
            # the last pattern that matches decides
            "permission": {"external_directory": {"*": "deny", **dict.fromkeys(allowed, "allow")}},
            "provider": {"local": provider},
        }
        file = home / ".config" / "opencode" / "opencode.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(config, indent=1))

    def version(self) -> str:
        command = [self.opencode, "--version"]
        said = subprocess.check_output(command, env=self.env, text=True, timeout=LIFETIME_S)
        return said.strip()

    def repository(self, folder: Path, files: dict[str, str]) -> None:
        """Makes a repository with one commit, the same one whenever it is made."""
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        for command in ("init -q -b main", "add -A", "commit -q -m first"):
            subprocess.run(["git", *command.split()], cwd=folder, env=self.env, check=True)

    @contextmanager
    def serve(self, folder: Path) -> Iterator["Server"]:
        """opencode's server, started in `folder` by this name of it, and stopped at the end."""
        process = subprocess.Popen(
            [self.opencode, "serve", "--hostname", "127.0.0.1", "--port", "0"],
            cwd=folder,
            env=self.env | {"PWD": str(folder)},  # opencode believes PWD
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        server = Server(process, folder)
        end_of_life = threading.Timer(LIFETIME_S, server.kill)
        end_of_life.start()
        try:
            server.listens()
            yield server
            process.terminate()
            process.wait(LIFETIME_S)
        finally:
            end_of_life.cancel()
            server.kill()
            assert process.stdout
            process.stdout.close()


class Server:
    """A running `opencode serve`, asked to work in `folder`."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process, self.folder, self.url = process, folder, ""

    def listens(self) -> None:
        """Waits for the line that says where it listens."""
        assert self.process.stdout
        for line in self.process.stdout:
            if (start := line.find(b"http://127.0.0.1:")) >= 0:
                self.url = line[start:].decode().strip()
                return
        raise RuntimeError("opencode ended before it listened.")

    def call(self, path: str, body: object = None) -> Any:
        """What it answers to a GET, or to a POST when there is a body."""
        request = urllib.request.Request(
            f"{self.url}{path}?directory={self.folder}",
            None if body is None else json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        with LOOPBACK.open(request, timeout=LIFETIME_S) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def prompt(
        self, session: str, text: str, model: str = MODELS[0], *, is_awaited: bool = True
    ) -> None:
        """Asks for something, and waits until opencode is done with it."""
        body = {
            "model": {"providerID": "local", "modelID": model},
            "parts": [{"type": "text", "text": text}],
        }
        self.call(f"/session/{session}/{'message' if is_awaited else 'prompt_async'}", body)

    def kill(self) -> None:
        """Ends it in the middle of whatever it does, with what it started in its own group."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(LIFETIME_S)
