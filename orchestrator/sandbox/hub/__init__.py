"""The Hugging Face Hub face."""
