"""Data files out of the bucket and raw lines into a table: streamed, verified, retried, counted."""
