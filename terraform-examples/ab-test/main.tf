# Two versions of a model behind one endpoint, 90 to 10. To go on: move the weights and apply. To roll back: stable = 100, candidate = 0.
# URL and keys stay the same throughout, and no request is lost on the way.

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
  description = "Where the two versions lie: s3://bucket/prefix or file:///folder, without a slash at the end."
  type        = string
}

variable "instance_type" {
  description = "What one replica takes."
  type        = string
  default     = "cpu-small"
}

variable "candidate_weight" {
  description = "Percent of the requests that the candidate answers: 10 to try it, 100 to take it, 0 to roll back."
  type        = number
  default     = 10
}

locals {
  versions = { "v1.4" = "summarizer-v1.4", "v1.5" = "summarizer-v1.5" }
}

resource "fleetform_quota" "replicas" {
  project       = var.project
  instance_type = var.instance_type
  max_replicas  = 6
}

resource "fleetform_model_version" "summarizer" {
  for_each  = local.versions
  project   = var.project
  model     = "summarizer"
  version   = each.key
  artifact  = "${var.models}/${each.value}/"
  framework = "pytorch"
  runtime   = startswith(var.instance_type, "gpu-") ? "cuda12.6" : "cpu"

  # A version that leaves this file goes after the endpoint has left it.
  lifecycle { create_before_destroy = true }
}

resource "fleetform_endpoint" "summarize" {
  project       = var.project
  name          = "summarize"
  instance_type = fleetform_quota.replicas.instance_type

  variants = {
    "v1.4" = { model_version = fleetform_model_version.summarizer["v1.4"].ref, weight = 100 - var.candidate_weight }
    "v1.5" = { model_version = fleetform_model_version.summarizer["v1.5"].ref, weight = var.candidate_weight }
  }

  scaling  = { min_replicas = 2, max_replicas = 2 }
  rollout  = { steps = [10, 50, 100], step_hold_s = 5, bake_s = 60 }
  timeouts = { create = "20m", update = "20m", delete = "10m" }
}

output "base_url" {
  value = fleetform_endpoint.summarize.url
}
