"""Strings of tokens: characters, words, SMILES."""
