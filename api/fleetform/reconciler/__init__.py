"""WHEN AND HOW: the loop (claim, load, plan, apply, record), the lease with its epoch, back-off, publishing to gateways."""
