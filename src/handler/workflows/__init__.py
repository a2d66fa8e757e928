"""What a request goes through: one module for each kind, and the one that all have in common."""
