"""The four ways to count. Each is written twice: in Python for keys of this process, in Lua for keys on Redis.

The twins do the same arithmetic on the same doubles in the same order, and a test holds their answers against each
other.

Times are microseconds. A state is a short list of numbers. What a change of the thresholds means is the same for all:
units taken stay taken, and every stretch of time is credited once, at the thresholds that the key knew when it began.
"""
