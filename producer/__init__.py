"""Asks: stores questions, sends their jobs, reads the results back."""
