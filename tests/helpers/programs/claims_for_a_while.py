import time

import anyport

first = anyport.find(in_="20123-20124", keep=0.2)
second = anyport.find(in_="20123-20124", keep=60)
assert {first, second} == {20123, 20124}
end = time.monotonic() + 60
while True:  # while both are claimed, the oldest comes: also the first; so look at the claim itself
    from anyport._ledger import keeper

    (book,) = keeper._ledgers.values()
    book.acquire()
    from anyport._ledger.record import is_claimed

    over = not is_claimed(book.record(first), book.now)
    book.release()
    if over:
        break
    assert time.monotonic() < end
assert anyport.find(in_="20123-20124") == first
