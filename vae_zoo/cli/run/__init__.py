"""A run of Lightning's verbs: checks, folder, configuration, processes."""
