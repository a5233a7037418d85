"""Whole programs for tests: a server on the fake driver, a stack with real engines, Terraform, a load that judges every answer.

Everything here starts in a temporary folder on free ports and leaves nothing behind, also when a test fails.
"""
