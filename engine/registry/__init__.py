"""Model files before they are served: downloads, headers, chat templates, registration."""
