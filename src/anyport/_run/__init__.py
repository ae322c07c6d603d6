"""run: start a program and give it the port.

`plan` says what is wanted, `order` how the library asks for it, and `template` fills the number in; `handover` prepares
the hold, `program` starts the program, `watch` sees it through by its `deadlines`, with `signals` and `readiness`,
`conflict` says why it ended without its port, `daemon` keeps the hold for one that it left, `runner` ties them
together, and `run` is the verb of the library.
"""
