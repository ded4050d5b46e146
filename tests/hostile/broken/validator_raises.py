"""A check of the options lets an error of its own out."""

from dataclasses import replace

import service.options

checked = service.options._out_of_range


def raises(options, manifest, max_slots):
    if replace(options, deadline=None) != service.options.Options():
        raise ValueError(f"cannot search {options}")
    yield from checked(options, manifest, max_slots)


service.options._out_of_range = raises
