"""CAPTION producer/webhooks."""
