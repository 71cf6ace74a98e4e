"""The batching engine: one worker process per instance of a deployment."""
