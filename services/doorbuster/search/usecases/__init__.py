"""What search does: answer, follow the catalogue, and build its index anew."""
