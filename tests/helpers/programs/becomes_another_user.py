import os
import sys

del os.environ["ANYPORT_LEDGER"]
import anyport
from anyport._ledger import keeper

anyport.find()
(book,) = keeper._ledgers.values()
os.unlink(book.path)  # or it would lie about until it is 25 hours old
anyport.find(20123)
again = book.path
os.setuid(int(sys.argv[1]))
print(*anyport.find_many(3))
print(book.path != again, file=sys.stderr)
