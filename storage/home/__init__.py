"""The data directory of one box: paths, configuration, access, and the clock."""
