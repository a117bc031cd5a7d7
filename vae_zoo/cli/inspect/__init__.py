"""Classes, options and configurations, read from the sources without an import."""
