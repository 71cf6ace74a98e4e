"""The OpenAI-compatible door for clients: HTTP in, tokens out, requests recorded."""
