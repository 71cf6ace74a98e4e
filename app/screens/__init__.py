"""The places of the screen, one module for each."""
