"""The llmrouter suite: gRPC services that stand in front of language models."""
