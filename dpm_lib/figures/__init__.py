"""Figures, still and moving. They need the extra `figures`, which is not loaded before it is asked for."""
