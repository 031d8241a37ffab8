"""Every SQL statement, in one module per table or topic.

No function commits: the caller opens the transaction (`db.session`).
"""
