"""Retention of backup sets, carried out. What stays and what goes is decided in `retention`, which is pure.

`gathering`  what stands in bucket and ledger, as that decision wants it
`removals`   the marks of sets that are being removed
`deleting`   taking a set's objects and ledger rows away
`shields`    the marks of sets that are to be kept
`pruner`     a run of retention, and the plan of one
"""
