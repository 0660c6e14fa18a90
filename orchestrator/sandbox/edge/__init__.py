"""What lies between every face and its callers: ports, tokens, faults, time."""
