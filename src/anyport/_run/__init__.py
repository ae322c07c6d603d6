"""run: start a program and give it the port.

`plan` says what is wanted and `template` fills the number in; `handover` prepares the hold, `spawn` starts the program,
`watch` sees it through with `signals` and `readiness`, `conflict` says why it ended without its port, `after` keeps the
hold for a daemon, and `runner` ties them together.  The supervised hand-over comes here.
"""
