# Everything happens in a virtual environment in .venv; see `python3 dev.py --help`.
PYTHON ?= python3

.PHONY: demo test check setup

demo:
	$(PYTHON) dev.py demo

test:
	$(PYTHON) dev.py test

check:
	$(PYTHON) dev.py check

setup:
	$(PYTHON) dev.py setup
