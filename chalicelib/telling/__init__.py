"""Telling people and machines of backup sets: notices by SNS and EventBridge, metrics, and how old backups are.

What is to be told is noted by the backup side (`chalicelib/backup/notices.py`); all sending is reconcile's.
"""
