terraform import fleetform_token.rag acme/rag-app
