"""Engines for tests: a stub that speaks OpenAI on a socket, and a tiny real Llama for vLLM."""
