# A model that costs nothing while nobody asks. It rests at no replica after five minutes without a request; the first request is held
# while one starts, and answered. In office hours one replica is kept warm, so that nobody waits. Under load there are up to three.
# `fleetform endpoint get assistant` tells why there are as many as there are, and what would change that.

terraform {
  required_version = ">= 1.11"
  required_providers {
    fleetform = { source = "fleetform/fleetform" }
  }
}

provider "fleetform" {}

variable "project" {
  description = "An existing project, whose artifact prefixes cover `models`."
  type        = string
}

variable "models" {
  description = "Where the model lies: s3://bucket/prefix or file:///folder, without a slash at the end."
  type        = string
}

variable "instance_type" {
  description = "What one replica takes."
  type        = string
  default     = "cpu-small"
}

resource "fleetform_quota" "replicas" {
  project       = var.project
  instance_type = var.instance_type
  max_replicas  = 3
}

resource "fleetform_model_version" "assistant" {
  project   = var.project
  model     = "assistant"
  version   = "v1"
  artifact  = "${var.models}/assistant-v1/"
  framework = "pytorch"
  runtime   = startswith(var.instance_type, "gpu-") ? "cuda12.6" : "cpu"
}

resource "fleetform_endpoint" "assistant" {
  project       = var.project
  name          = "assistant"
  mode          = "serverless"
  instance_type = fleetform_quota.replicas.instance_type

  variants = { v1 = { model_version = fleetform_model_version.assistant.ref } }

  scaling = {
    max_replicas       = 3
    target_concurrency = 8
    idle_s             = 300
    schedule = {
      office = { cron = "0 9 * * SUN-THU", duration_s = 28800, timezone = "Asia/Dhaka", min_replicas = 1 }
    }
  }

  # The first request after a rest waits for a start.
  request_timeout_s = 600
  timeouts          = { create = "20m", update = "20m", delete = "10m" }
}

output "base_url" {
  value = fleetform_endpoint.assistant.url
}
