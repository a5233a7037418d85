"""The Terraform configuration of the end-to-end tests: a chat endpoint, an embedding endpoint, a key that reaches no state."""

from pathlib import Path

PROJECT = "acme"


def configuration(models: Path, key_file: Path, chat_version: str, *, embeddings: bool = True) -> str:
    """Terraform text. chat_version: `v1` or `v2`, the version that takes all the chat traffic; both stay registered."""
    return _common(models) + _chat(chat_version) + (_embeddings(models) if embeddings else "") + _key(key_file)


def _common(models: Path) -> str:
    versions = "".join(
        f"""
resource "fleetform_model_version" "chat_{version}" {{
  project   = fleetform_project.acme.name
  model     = "tiny-chat"
  version   = "{version}"
  artifact  = "file://{models}/chat-{version}/"
  framework = "pytorch"
  runtime   = "cpu"
}}
"""
        for version in ("v1", "v2")
    )
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
{versions}"""


def _chat(version: str) -> str:
    return f"""
resource "fleetform_endpoint" "chat" {{
  project       = fleetform_project.acme.name
  name          = "chat"
  type          = "realtime"
  instance_type = fleetform_quota.cpu.instance_type
  variants      = {{ main = {{ model_version = fleetform_model_version.chat_{version}.ref }} }}
  rollout       = {{ steps = [50, 100], step_hold_s = 2, bake_s = 2 }}
}}

output "base_url" {{ value = fleetform_endpoint.chat.url }}
"""


def _embeddings(models: Path) -> str:
    return f"""
resource "fleetform_model_version" "embed" {{
  project   = fleetform_project.acme.name
  model     = "tiny-embed"
  version   = "v1"
  artifact  = "file://{models}/embed/"
  framework = "pytorch"
  runtime   = "cpu"
}}

resource "fleetform_endpoint" "embed" {{
  project       = fleetform_project.acme.name
  name          = "embed"
  instance_type = fleetform_quota.cpu.instance_type
  variants      = {{ main = {{ model_version = fleetform_model_version.embed.ref }} }}
}}
"""


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
