"""hold: keep a port.

`door` says who may bind what is held, `holder` is the background process of the command, `activation` hands sockets
over by descriptor, `hold` is the verb.
"""
