"""A project on a whole stack, whose engines are stubs, as its owner types it: the command line, and the OpenAI SDK through Envoy."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from openai import OpenAI

from tests.engines.tiny_models import write_tiny_chat_model
from tests.harness.stack import Stack

STUB = Path(__file__).parents[1] / "engines" / "stub.py"
PROJECT = "acme"
ROLLOUT = ("--steps", "50,100", "--step-hold", "1s", "--bake", "1s")


class Shop:
    """A project with a quota and models whose engine is the stub."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.models = stack.home / "models"
        self.models.mkdir()
        write_tiny_chat_model(self.models / "original", seed=0)
        words = [sys.executable, "-S", str(STUB), "--socket", "{socket}", "--model-dir", "{model_dir}"]
        names = ["--served-name", "{served_name}", "--instance", "{instance}"]
        self.run("engine", "set", "--name", "stub", "--", *words, *names)
        self.run("instance-type", "set", "--name", "tiny", "--cpu-millis", "10", "--memory-mib", "64")
        self.run("project", "create", "--name", PROJECT, "--artifact-prefix", f"file://{self.models}/")
        self.run("quota", "set", "--project", PROJECT, "--instance-type", "tiny", "--max-replicas", "20")
        self.run("token", "create", "--project", PROJECT, "--name", "app", "--role", "inference.invoker")
        self.key = self.mint()

    def run(self, *words: str, fails: bool = False) -> str:
        return self.stack.fleetform(*words, fails=fails)

    def mint(self) -> str:
        return str(self.stack.answer("token", "mint", "app", "--project", PROJECT)["secret"])

    def register(self, version: str, *, fails: bool = False, **behaviour: object) -> str:
        """Register version of model `m`, whose engine behaves so; the command's output."""
        folder = self.models / version
        folder.mkdir()
        for file in (self.models / "original").iterdir():
            os.link(file, folder / file.name)
        if behaviour:
            (folder / "stub.json").write_text(json.dumps(behaviour))
        return self.register_folder(version, fails=fails)

    def register_folder(self, version: str, *, fails: bool = False) -> str:
        source = ("--artifact", f"file://{self.models}/{version}/", "--framework", "pytorch", "--runtime", "cpu")
        name = ("--project", PROJECT, "--name", "m", "--version", version)
        return self.run("model", "register", *name, *source, "--engine", "stub", "--wait", fails=fails)

    def create(self, name: str, version: str, *more: str, fails: bool = False) -> str:
        where = ("--project", PROJECT, "--name", name, "--model", f"m:{version}", "--instance-type", "tiny")
        return self.run("endpoint", "create", *where, *ROLLOUT, "--wait", *more, fails=fails)

    def update(self, name: str, *more: str, fails: bool = False) -> str:
        return self.run("endpoint", "update", "--project", PROJECT, "--name", name, *more, "--wait", fails=fails)

    def get(self, name: str) -> dict[str, Any]:
        return dict(self.stack.answer("endpoint", "get", name, "--project", PROJECT))

    def degraded(self, name: str) -> str:
        """The reason of the endpoint's Degraded condition; `None` when it is not."""
        return next(str(c["reason"]) for c in self.get(name)["status"]["conditions"] if c["type"] == "Degraded")

    def delete(self, name: str) -> None:
        self.run("endpoint", "delete", name, "--project", PROJECT, "--wait")

    def client(self, key: str | None = None, **more: Any) -> OpenAI:
        return OpenAI(base_url=self.stack.environment["OPENAI_BASE_URL"], api_key=key or self.key, max_retries=0, timeout=30, **more)

    @property
    def base_url(self) -> str:
        """The gateway."""
        return self.stack.environment["OPENAI_BASE_URL"]

    def ask(self, name: str, key: str | None = None) -> str:
        answer = self.client(key).chat.completions.create(model=name, messages=[{"role": "user", "content": "x"}], max_tokens=2)
        return str(answer.choices[0].message.content)

    def forget_cache(self) -> None:
        """As if no artifact had ever been fetched: what starts next reads its source."""
        for cached in (self.stack.home / "cache").glob("**/*"):
            if cached.is_file():
                cached.unlink()

    def engines(self) -> list[int]:
        return list(self.stack.processes("stub.py"))
