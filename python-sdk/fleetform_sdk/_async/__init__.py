"""The asynchronous client, and the source of the synchronous one: `make generate` derives `_sync` from this folder.

transport.py  sends calls: retries, timeouts, errors
pages.py      lists that fetch their pages when they are needed
resource.py   what the resources share
client.py     AsyncClient
endpoints.py, model_versions.py, tokens.py, tenancy.py, region.py   the resources
"""
