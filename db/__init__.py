"""The SQL database: engines, transactions, tables and every query."""
