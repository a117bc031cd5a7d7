"""The operating system: files, locks, signals, memory, random states, optional packages."""
