"""All that is deployed besides app.py.

Imports point one way, and tests/unit/test_import_direction.py enforces it:

    app.py  ->  api  ->  services  ->  telling, restore  ->  backup  ->  ledger, retry, aws
            ->  settings  ->  selection, validation, errors, clock

`backup` imports neither `restore` nor `telling`, which reads its rows and manifests; `restore` may read
`backup.manifest`, `backup.chain`, `backup.export_files` and `backup.layout`, the contract in the bucket. Only app.py
and `api` know Chalice. Nothing here imports `sandbox` or `tests`.
"""
