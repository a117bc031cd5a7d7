"""The base class of every data module, its loaders, splits and checks."""
