"""What scripts/confinement_race is made of.

playground.py   an allowed folder, what lies around it, and the scenes: which two entries are swapped
thief.py        the other process, which swaps them as fast as it goes
ways.py         how a file is opened: as the product does, or in a way that has to fail
race.py         opens while the thief swaps, and counts what came of it
timing.py       how long each kind of refusal takes
"""
