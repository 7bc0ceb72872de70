"""What somebody may do who can write any object into the backup bucket, and nothing else."""
