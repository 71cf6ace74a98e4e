"""Durable jobs: long work that runs step by step in a process of its own."""
