"""What checkout does: load, decide, save, announce."""
