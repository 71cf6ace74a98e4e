"""Other people's clients, unmodified, in environments apart from ours, against a gateway."""
