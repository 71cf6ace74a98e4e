"""llama.cpp's own server tests, unmodified, against a gateway."""
