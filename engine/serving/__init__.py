"""The batching engine: one worker process per loaded model, and what keeps it alive."""
