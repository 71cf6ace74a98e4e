"""The backend for OpenAI-compatible servers: vLLM, SGLang, llama-server, a cloud endpoint, Paddock.

What a server sends is not trusted: every line, body and stream is bounded, and whatever is not the
API's becomes a `failures.Failure` with a stable code (`faults`). Imported by the gateway.
"""
