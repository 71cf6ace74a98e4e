"""Which release answers a request, and how its prompt is rendered. Decides; never does I/O."""
