"""Durable jobs: long work that runs step by step, each job in a separate process."""
