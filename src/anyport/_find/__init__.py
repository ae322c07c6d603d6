"""find: an unused port.

`selection` is the question, `candidates`, `blocks` and `names` say which numbers are tried and in which order,
`probe` binds them, `search` takes them past the ledger and the probe until there are enough, `found` claims those,
`remarks` has the words for an answer that is not the expected one, `reserved` claims ahead for a process that asks
often, `find` is the verb.
"""
