"""From a prompt version and a client's messages to the text that a model reads."""
