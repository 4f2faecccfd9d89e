"""The whole platform on one machine without Docker: real servers as plain processes."""
