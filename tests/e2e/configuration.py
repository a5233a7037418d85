"""Terraform text of the end-to-end tests: a chat endpoint, an embedding endpoint, a key that reaches no state; whole, or in parts."""

from pathlib import Path

PROJECT = "acme"


def configuration(models: Path, key_file: Path, chat_version: str, *, embeddings: bool = True) -> str:
    """Terraform text. chat_version: `v1` or `v2`, the version that takes all the chat traffic; both stay registered."""
    return _common(models) + chat(f"chat_{chat_version}") + (_embeddings(models) if embeddings else "") + _key(key_file)


def _common(models: Path) -> str:
    versions = (version(f"chat_{name}", f"tiny-chat:{name}", models / f"chat-{name}") for name in ("v1", "v2"))
    return project(models) + "".join(versions)


def project(models: Path) -> str:
    """The project, whose models lie in that folder, and its quota `cpu`."""
    return f"""
resource "fleetform_project" "acme" {{
  name              = "{PROJECT}"
  artifact_prefixes = ["file://{models}/"]
}}

resource "fleetform_quota" "cpu" {{
  project       = fleetform_project.acme.name
  instance_type = "cpu-small"
  max_replicas  = 4
}}
"""


def version(resource: str, ref: str, folder: Path, more: str = "") -> str:
    """A model version `model:version`. more: arguments beside the usual ones."""
    model, _, name = ref.partition(":")
    return f"""
resource "fleetform_model_version" "{resource}" {{
  project   = fleetform_project.acme.name
  model     = "{model}"
  version   = "{name}"
  artifact  = "file://{folder}/"
  framework = "pytorch"
  runtime   = "cpu"
  {more}
}}
"""


def chat(resource: str, step_hold_s: int = 2) -> str:
    """The endpoint `chat` with all of its traffic on one version, by the name of its resource; output: `base_url`."""
    return f"""
resource "fleetform_endpoint" "chat" {{
  project       = fleetform_project.acme.name
  name          = "chat"
  type          = "realtime"
  instance_type = fleetform_quota.cpu.instance_type
  variants      = {{ main = {{ model_version = fleetform_model_version.{resource}.ref }} }}
  rollout       = {{ steps = [50, 100], step_hold_s = {step_hold_s}, bake_s = 2 }}
}}

output "base_url" {{ value = fleetform_endpoint.chat.url }}
"""


def _embeddings(models: Path) -> str:
    endpoint = """
resource "fleetform_endpoint" "embed" {
  project       = fleetform_project.acme.name
  name          = "embed"
  instance_type = fleetform_quota.cpu.instance_type
  variants      = { main = { model_version = fleetform_model_version.embed.ref } }
}
"""
    return version("embed", "tiny-embed:v1", models / "embed") + endpoint


def _key(key_file: Path) -> str:
    return f"""
resource "fleetform_token" "app" {{
  project = fleetform_project.acme.name
  name    = "app"
  roles   = ["inference.invoker"]
}}

ephemeral "fleetform_token_credential" "app" {{
  project = fleetform_project.acme.name
  token   = fleetform_token.app.name
}}

resource "terraform_data" "key" {{
  input = fleetform_token.app.uid
  provisioner "local-exec" {{
    command     = "umask 077 && printf %s \\"$KEY\\" > '{key_file}'"
    environment = {{ KEY = ephemeral.fleetform_token_credential.app.secret }}
  }}
}}
"""
