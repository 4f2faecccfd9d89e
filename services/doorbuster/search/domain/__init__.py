"""What search decides: how products are indexed, asked for and shown."""
