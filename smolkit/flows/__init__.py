"""What takes several calls of the engine: pure generators of steps, and what performs them."""
