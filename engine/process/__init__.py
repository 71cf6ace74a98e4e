"""What every process of the engine needs: its log, its heartbeat, its reports, its parent."""
