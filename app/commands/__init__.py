"""One module per noun of the command line, loaded only when that noun is called."""
