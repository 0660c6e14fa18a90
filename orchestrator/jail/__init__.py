"""Runs programs that nobody has read, where they can do no harm; `docs/jail.md` says what holds."""
