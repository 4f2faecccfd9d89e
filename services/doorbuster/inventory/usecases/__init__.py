"""What inventory does: reserve, warm, reap, sweep, control."""
