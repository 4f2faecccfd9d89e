"""Crash at every write: a real operator, killed after each of its effective writes, against an undisturbed run."""
