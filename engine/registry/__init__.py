"""What is known of a model file before it is served."""
