"""What the toy app deploys besides app.py."""
