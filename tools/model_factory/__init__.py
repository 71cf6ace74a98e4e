"""How the shipped model was made: data, network, training, GGUF export, and its model card."""
