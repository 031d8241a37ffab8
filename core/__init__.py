"""The code that every program shares, free of databases and frameworks."""
