"""run: start a program and give it the port.

`template` fills the number in, `spawn` starts the program, `signals` and `tree` watch it, `readiness` tells when it
listens, `conflict` why it did not, `runner` is the loop that ties them together.  The supervised hand-over comes here.
"""
