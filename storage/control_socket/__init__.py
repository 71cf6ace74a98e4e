"""The node's control socket as its clients see it: the verbs, the client, and nudges."""
