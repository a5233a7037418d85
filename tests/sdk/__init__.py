"""The Python SDK: its pure parts by tables, its manners against a scripted API, its reach against the real one."""
