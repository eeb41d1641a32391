"""Copies of what the services keep, made while they run, and put back while they do not."""
