"""The ledger: which ports were given out, until when.

It is advice, the bind is the law.  It steers choices, so that two callers who may choose do not choose alike; it never
makes a port unusable, and when it can't be used, `find` says so and goes on.

`record` is its bytes, `place` where it lies, `book` the file under its lock, `turns` the order of choice, `keeper` has
the one of this process, `reading` looks into it, `health` says how it is.
"""
