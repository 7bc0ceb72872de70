"""Restores: a state machine in the ledger, and the workers that carry it on.

requests, desk                       what is asked for; accepting, showing, cancelling
model, decision, advance             statuses and moves; what comes next (pure); doing it
records, claims, slots               the ledger's rows: state and totals, rights to shards, places to work
worker, sweep, dead_letter           who works: a message's worker, reconcile, the dead-letter queue
work, phases/                        what is done with a shard, one module per phase
datapath/                            data files out of the bucket, raw lines into a table
receipt                              what it came to
"""
