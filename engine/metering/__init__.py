"""What is measured: requests, per-second samples, the host and its GPUs."""
