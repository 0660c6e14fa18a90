"""Where bytes rest. `base` holds the contract, each other module one store."""
