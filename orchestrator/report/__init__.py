"""Views of runs as data, and what is drawn from them."""
