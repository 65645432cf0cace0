"""What stands in for TotalSegmentator in the tests of stages; each has a `segment` of its own."""


class StandIn:
    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
