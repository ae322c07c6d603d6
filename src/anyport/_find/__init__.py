"""find: an unused port.

`selection` is the question; `candidates`, `blocks` and `names` say which numbers are tried and in which order, `probe`
binds them, `supply` takes them past the ledger and `search` past the probe until there are enough; `found` claims
those, `facts` says what is not as expected, `remarks` in which words; `reserved` claims ahead for a process that asks
often, and `find` is the verb.
"""
