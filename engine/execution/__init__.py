"""One request from plan to recorded answer, without HTTP: plan, execute, record."""
