"""How fast the function is, side by side with what would be used instead."""
