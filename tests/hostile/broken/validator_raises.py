"""A check of the options lets an error of its own out."""

import service.options

checked = service.options._out_of_range


def raises(options, manifest, max_slots):
    if options.beam_size == 3:
        raise ValueError(f"beam_size {options.beam_size}")
    yield from checked(options, manifest, max_slots)


service.options._out_of_range = raises
