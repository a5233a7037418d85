terraform import fleetform_project.acme acme
