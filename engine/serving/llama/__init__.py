"""The only package that imports llama_cpp: weights, contexts, vocabulary, devices.

libllama aborts its process on a failed assertion, so nothing that must survive may import this.
Never decides what a step holds, and never samples a token. `Any` marks the untyped handles of the
binding; none leaves the package. Imported by the worker.
"""
