"""What is in use, and by whom: the inventory that sources write, and that the guard asks."""
