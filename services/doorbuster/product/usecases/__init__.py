"""What the product service does: one module for each kind of caller."""
