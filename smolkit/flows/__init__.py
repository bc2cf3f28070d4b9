"""Workflows of several engine calls: pure generators of steps, and `perform`, which runs them."""
