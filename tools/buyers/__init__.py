"""The crowd: load, history recorder, checker, report."""
