"""The node: starts, watches and stops the parts of the box, and keeps the door for intents."""
