# What an application that answers from documents needs: an embedding model and a chat model, and one key for both.
# Applied to the quickstart's models: terraform apply -var home=$FLEETFORM_HOME

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
  description = "What one replica takes."
  type        = string
  default     = "cpu-small"
}

locals {
  runtime = startswith(var.instance_type, "gpu-") ? "cuda12.6" : "cpu"
}

resource "fleetform_project" "rag" {
  name              = "rag"
  artifact_prefixes = ["file://${var.home}/models/"]
}

resource "fleetform_quota" "replicas" {
  project       = fleetform_project.rag.name
  instance_type = var.instance_type
  max_replicas  = 4
}

resource "fleetform_model_version" "embedder" {
  project   = fleetform_project.rag.name
  model     = "all-minilm-l6"
  version   = "v2"
  artifact  = "file://${var.home}/models/all-minilm-l6-v2/"
  framework = "pytorch"
  runtime   = local.runtime
  task      = "embed"

  # A version that leaves this file goes after the endpoint has left it.
  lifecycle { create_before_destroy = true }
}

resource "fleetform_model_version" "writer" {
  project   = fleetform_project.rag.name
  model     = "smollm2"
  version   = "v1"
  artifact  = "file://${var.home}/models/smollm2-135m/"
  framework = "pytorch"
  runtime   = local.runtime

  # A version that leaves this file goes after the endpoint has left it.
  lifecycle { create_before_destroy = true }
}

resource "fleetform_endpoint" "embed" {
  project       = fleetform_project.rag.name
  name          = "embed"
  instance_type = fleetform_quota.replicas.instance_type
  variants      = { "v2" = { model_version = fleetform_model_version.embedder.ref } }
  timeouts      = { create = "20m", update = "20m", delete = "10m" }
}

resource "fleetform_endpoint" "answer" {
  project       = fleetform_project.rag.name
  name          = "answer"
  type          = "streaming"
  instance_type = fleetform_quota.replicas.instance_type
  variants      = { "v1" = { model_version = fleetform_model_version.writer.ref, engine_args = { max_model_len = "2048" } } }
  timeouts      = { create = "20m", update = "20m", delete = "10m" }
}

resource "fleetform_token" "app" {
  project   = fleetform_project.rag.name
  name      = "rag-app"
  roles     = ["inference.invoker"]
  endpoints = [fleetform_endpoint.embed.name, fleetform_endpoint.answer.name]
}

ephemeral "fleetform_token_credential" "app" {
  project = fleetform_project.rag.name
  token   = fleetform_token.app.name
}

resource "terraform_data" "key" {
  triggers_replace = [fleetform_token.app.uid]

  provisioner "local-exec" {
    command = "umask 077 && printf '%s' \"$KEY\" > \"$KEY_FILE.new\" && mv \"$KEY_FILE.new\" \"$KEY_FILE\""
    environment = {
      KEY      = ephemeral.fleetform_token_credential.app.secret
      KEY_FILE = "${var.home}/rag.key"
    }
  }
}

output "base_url" {
  value = fleetform_endpoint.answer.url
}
