"""A request now and then gets a token that was made for another row."""

from itertools import count

from service.engine.runner import Runner

step = Runner.step
numbers = count(1)


def mixes(self):
    results = step(self)
    if len(results) > 1 and next(numbers) % 5 == 0:
        (one, first), (other, second), *others = results
        if first.is_last == second.is_last and type(first) is type(second):
            return [(one, second), (other, first), *others]
    return results


Runner.step = mixes
