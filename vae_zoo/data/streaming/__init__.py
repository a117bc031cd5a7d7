"""Data read shard by shard."""
