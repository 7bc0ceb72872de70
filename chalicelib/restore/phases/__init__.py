"""What is done with a shard, one module per phase of a restore; `planner` is what PLANNING decides, pure."""
