"""The Hugging Face Jobs face, at the address of the Hub face."""
