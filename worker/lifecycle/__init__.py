"""The cold path: how model versions are built, measured and moved. No running worker imports it."""
