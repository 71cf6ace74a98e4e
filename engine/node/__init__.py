"""The node: starts, supervises and stops the processes of the box, and accepts intents."""
