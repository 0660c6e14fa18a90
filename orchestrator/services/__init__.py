"""Where attempts execute. `base` holds the contract, each other module one service."""
