"""The real Terraform binary with the provider of this checkout, in a folder of its own."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROVIDER = ROOT / "provider-go-shim" / "bin" / "terraform-provider-fleetform_v0.1.0"


class Terraform:
    """One configuration in one folder. environment: FLEETFORM_BASE_URL, FLEETFORM_TOKEN, …"""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "cli.tfrc"
        config.write_text(
            f'provider_installation {{\n  dev_overrides {{ "fleetform/fleetform" = "{PROVIDER.parent}" }}\n  direct {{}}\n}}\n'
        )
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TF_", "FLEETFORM_"))},
            **environment,
            "TF_CLI_CONFIG_FILE": str(config),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }
        self.output: list[str] = []

    def write(self, text: str) -> None:
        """Make text the whole configuration."""
        head = 'terraform {\n  required_providers { fleetform = { source = "fleetform/fleetform" } }\n}\n'
        (self.folder / "main.tf").write_text(head + text)

    def run(self, *words: str, fails: bool = False, timeout_s: float = 600) -> str:
        """The output of `terraform words…`; AssertionError unless it ends as expected."""
        done = subprocess.run(
            ["terraform", *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        text = done.stdout + done.stderr
        self.output.append(text)
        assert (done.returncode != 0) == fails, f"terraform {' '.join(words)} ended with {done.returncode}:\n{text[-4000:]}"
        return text

    def apply(self, *, fails: bool = False, timeout_s: float = 600) -> str:
        return self.run("apply", "-auto-approve", "-no-color", "-input=false", fails=fails, timeout_s=timeout_s)

    def destroy(self, timeout_s: float = 600) -> str:
        return self.run("destroy", "-auto-approve", "-no-color", "-input=false", timeout_s=timeout_s)

    def plan_is_empty(self) -> bool:
        """True when a plan, refreshed from the server, wants nothing."""
        done = subprocess.run(
            ["terraform", "plan", "-detailed-exitcode", "-no-color", "-input=false"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.output.append(done.stdout + done.stderr)
        assert done.returncode in (0, 2), done.stdout + done.stderr
        return done.returncode == 0

    def outputs(self) -> dict[str, Any]:
        return {name: value["value"] for name, value in json.loads(self.run("output", "-json")).items()}
