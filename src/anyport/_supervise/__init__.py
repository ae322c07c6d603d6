"""supervise: let one program past a shut hold.

`enter` puts the program under supervision, `policy` decides what is done about a trapped call, `passage` gets its
socket past the hold, `mapping` tells it its own number, `supervisor` answers the calls.
"""
