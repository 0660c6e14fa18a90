"""E-mail addresses, phone numbers, keys and tokens: found, masked, redacted."""
