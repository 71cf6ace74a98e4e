"""What every process under the node has: its parent, log, heartbeat and status lines."""
