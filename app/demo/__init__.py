"""The demo: its data directory, what it registers, and its synthetic load."""
