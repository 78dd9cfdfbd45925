"""The cache folder: converted models, downloads, embeddings."""
