"""What produces an answer: the local pool of workers, or a server that speaks OpenAI's protocol."""
