"""Adoption: sets and exports that stand in the bucket and not in the ledger get their rows.

from_manifest   rows of a set out of its manifest (pure)
folders         what stands in a table's folder of a set
asking          what DynamoDB says of exports that are not in the bucket yet
definitions     table.json, captured where an export by hand has none
planning        rows of a table out of what was found (pure)
examining       all that is found of a set's tables, each as its rows
entries         the ledger's rows, and every conditional write to them
adopter         a set, or an export whose event came, adopted
rebuild         the walk over the whole bucket
taking_over     the schedule's run, where its set was adopted before it came
"""
