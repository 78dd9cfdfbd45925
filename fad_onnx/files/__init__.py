"""Statistics and embeddings on disk."""
