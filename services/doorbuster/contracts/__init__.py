"""What crosses a service boundary: frozen structs, no logic."""
