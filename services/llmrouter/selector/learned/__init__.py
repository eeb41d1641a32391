"""Learned routing: each model's chance of answering a prompt well, from graded answers."""
