"""Local servers that speak the wire protocols of Cloud Storage, Vertex tuning and the Hub."""
