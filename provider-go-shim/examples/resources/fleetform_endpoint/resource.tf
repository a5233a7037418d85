resource "fleetform_endpoint" "prod" {
  project       = fleetform_project.acme.name
  name          = "acme-summarize-prod"
  instance_type = fleetform_quota.a10.instance_type

  variants = {
    "v1.4" = { model_version = fleetform_model_version.v1_4.ref, weight = 90 }
    "v1.5" = { model_version = fleetform_model_version.v1_5.ref, weight = 10, engine_args = { gpu_memory_utilization = "0.9" } }
  }

  scaling           = { min_replicas = 2, max_replicas = 20, target_concurrency = 8 }
  request_timeout_s = 30
  rollout           = { steps = [1, 10, 50, 100], step_hold_s = 60, bake_s = 600 }
  logging           = { content = "off" }
  timeouts          = { create = "30m", update = "30m", delete = "20m" }
}

output "base_url" {
  value = fleetform_endpoint.prod.url
}
