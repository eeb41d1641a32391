"""The inference service: loaded models, their memory, batching, sampling, tokens."""
