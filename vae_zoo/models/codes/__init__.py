"""Models with discrete codes."""
