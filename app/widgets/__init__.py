"""What screens are built from: lines, tables and charts that write only what changed."""
