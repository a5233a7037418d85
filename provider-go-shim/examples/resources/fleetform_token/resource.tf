resource "fleetform_token" "rag" {
  project   = fleetform_project.acme.name
  name      = "rag-app"
  roles     = ["inference.invoker"]
  endpoints = [fleetform_endpoint.prod.name]
  ttl_days  = 30
}
