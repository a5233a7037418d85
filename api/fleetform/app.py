"""The only place where the server's parts are wired."""
