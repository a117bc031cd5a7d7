"""Sweep files: rules, draws, commands, plots."""
