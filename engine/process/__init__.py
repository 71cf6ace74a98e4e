"""What every process of the engine has: its log, heartbeat, status lines and parent."""
