"""Parts of the files of predict: rows on disk, their identity, and tables."""
