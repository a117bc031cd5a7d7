"""The base class of every model and its components."""
