"""Planted bugs: each is a mistake that somebody could have made, and the simulator has to find it."""
