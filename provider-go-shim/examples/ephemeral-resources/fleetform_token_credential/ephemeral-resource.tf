# The secret goes to the application and nowhere else: not into state, plan or log.
ephemeral "fleetform_token_credential" "rag" {
  project = fleetform_project.acme.name
  token   = fleetform_token.rag.name
  ttl_s   = 3600
}

resource "terraform_data" "rag_key" {
  triggers_replace = [fleetform_token.rag.uid]

  provisioner "local-exec" {
    command     = "umask 077 && printf '%s' \"$KEY\" > rag.key"
    environment = { KEY = ephemeral.fleetform_token_credential.rag.secret }
  }
}
