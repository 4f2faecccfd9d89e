"""The explorer: small models of the protocol, and a search through every state they can reach."""
