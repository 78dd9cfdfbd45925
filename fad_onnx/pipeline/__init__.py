"""Many clips become embeddings and moments: options, batches, chunks, executors."""
