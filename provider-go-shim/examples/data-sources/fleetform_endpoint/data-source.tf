# What moves by itself, such as the number of replicas, is read here and is in no resource.
data "fleetform_endpoint" "prod" {
  project = fleetform_project.acme.name
  name    = fleetform_endpoint.prod.name
}

output "ready_replicas" {
  value = data.fleetform_endpoint.prod.replicas.ready
}
