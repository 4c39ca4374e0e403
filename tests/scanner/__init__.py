"""How well the box's reader reads: frames of a camera that is modelled here anew, every condition, three readers.

The demo's counter (`hardware/simulated_counter.py`) warps a flat picture; a reader tuned on it could fit its warp. So
the frames here come the other way round, as in a camera: each sensor pixel's rays go through a distorting lens to the
glass of the phone and bring light back, which the sensor then turns into grey levels, row by row.
"""
