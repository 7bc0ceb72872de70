"""Coverage-guided fuzzing of what reads the bucket, with atheris: `python -m tests.hostile.fuzz <target> --runs N`."""
