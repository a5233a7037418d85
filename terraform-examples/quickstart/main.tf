# One small chat model behind an OpenAI-compatible endpoint, with a key for an application.
# `make up` applies a copy of this folder; base URL, project and token come from FLEETFORM_HOME/env.

terraform {
  required_version = ">= 1.11"
  required_providers {
    fleetform = { source = "fleetform/fleetform" }
  }
}

provider "fleetform" {}

variable "home" {
  description = "FLEETFORM_HOME: the models lie in its folder models, and the key is written beside it."
  type        = string
}

variable "instance_type" {
  description = "What one replica takes. On a machine with a GPU, the type made from it, such as gpu-a10-1x."
  type        = string
  default     = "cpu-small"
}

resource "fleetform_project" "quickstart" {
  name              = "quickstart"
  artifact_prefixes = ["file://${var.home}/models/"]
}

resource "fleetform_quota" "replicas" {
  project       = fleetform_project.quickstart.name
  instance_type = var.instance_type
  max_replicas  = 4
}

resource "fleetform_model_version" "v1" {
  project   = fleetform_project.quickstart.name
  model     = "smollm2"
  version   = "v1"
  artifact  = "file://${var.home}/models/smollm2-135m/"
  framework = "pytorch"
  runtime   = startswith(var.instance_type, "gpu-") ? "cuda12.6" : "cpu"

  # A version that leaves this file goes after the endpoint has left it.
  lifecycle { create_before_destroy = true }
}

resource "fleetform_endpoint" "chat" {
  project       = fleetform_project.quickstart.name
  name          = "chat"
  instance_type = fleetform_quota.replicas.instance_type

  variants = {
    "v1" = { model_version = fleetform_model_version.v1.ref, engine_args = { max_model_len = "2048" } }
  }

  # Short holds, so that a new version is tried in a minute. A production rollout watches each step for longer.
  rollout  = { steps = [10, 50, 100], step_hold_s = 5, bake_s = 60 }
  timeouts = { create = "20m", update = "20m", delete = "10m" }
}

resource "fleetform_token" "app" {
  project   = fleetform_project.quickstart.name
  name      = "quickstart-app"
  roles     = ["inference.invoker"]
  endpoints = [fleetform_endpoint.chat.name]
  ttl_days  = 30
}

# The secret is in no state, plan or log: the provisioner below hands it to the application as a file.
ephemeral "fleetform_token_credential" "app" {
  project = fleetform_project.quickstart.name
  token   = fleetform_token.app.name
  ttl_s   = 7 * 24 * 3600
}

resource "terraform_data" "key" {
  triggers_replace = [fleetform_token.app.uid]

  provisioner "local-exec" {
    command = "umask 077 && printf '%s' \"$KEY\" > \"$KEY_FILE.new\" && mv \"$KEY_FILE.new\" \"$KEY_FILE\""
    environment = {
      KEY      = ephemeral.fleetform_token_credential.app.secret
      KEY_FILE = "${var.home}/quickstart.key"
    }
  }
}

output "base_url" {
  description = "For OpenAI clients."
  value       = fleetform_endpoint.chat.url
}

output "model" {
  description = "What to send as `model`."
  value       = fleetform_endpoint.chat.name
}
