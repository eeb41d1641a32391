"""The cache: answers seen before, in memory and on disk."""
