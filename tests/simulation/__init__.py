"""The whole service under faults, from a seed: `make simulate SEEDS=1-2000`. How it works and what it has shown stands
in docs/RELIABILITY.md."""
