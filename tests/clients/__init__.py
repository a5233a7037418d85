"""Existing OpenAI clients against the gateway: what they read must be there, what they branch on must be told."""
