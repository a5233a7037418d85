terraform import fleetform_endpoint.prod acme/acme-summarize-prod
