"""The seeds that `make test` runs. Scenarios take turns, so each has the same number of them."""

FIXED_SEEDS = tuple(range(1, 361))
