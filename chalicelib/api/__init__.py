"""The HTTP API: routes, authorizer, problem documents. The only part that knows Chalice, besides app.py."""
