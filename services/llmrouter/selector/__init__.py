"""The selector: which model answers a request, in which order, and why."""
