"""Stand-ins for third parties: real servers with a subset of the real protocol, for demos and tests."""
