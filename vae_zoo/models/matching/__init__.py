"""Models that match the aggregate posterior."""
