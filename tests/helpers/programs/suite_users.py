from suite import answer


class TestOne:
    def test_first(self, port):
        assert answer(port)

    def test_second(self, port):
        assert answer(port)


class TestTwo:
    def test_third(self, port):
        assert answer(port)
