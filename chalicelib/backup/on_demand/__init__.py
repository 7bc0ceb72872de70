"""Native on-demand backups: one CreateBackup of each table, by schedule or by hand, and their retention.

`service`    a run as the entry points call it: started, carried on, shown
`steps`      what a table's backup needs next. Pure
`creating`   the call that makes a backup, once
`once`       that the client does not repeat that call by itself
`listed`     what ListBackups tells
`rows`       what the ledger knows of a run; `runs`: its conditional writes
`shown`      a run as the API shows it. Pure
`pruning`    what is past its retention goes, in DynamoDB and then in the ledger

A run is named like a backup set, and is not one: nothing of it stands in the bucket.
"""
