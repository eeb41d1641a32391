"""What turns a foreign checkpoint into a model folder. One file per source format."""
