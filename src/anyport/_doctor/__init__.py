"""doctor: what works here, and what to change.

`rehearsal` tries supervision, `features` everything else, `findings` puts them together, `advice` says what to
change.
"""
