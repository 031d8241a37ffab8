"""The producer: stores questions, sends their jobs and reads the results.

Not covered: answering, which only `worker` does. The two packages meet in the database and in
Redis.
"""
