"""CPU time, memory and I/O over time: what was used in each step of a window, in all or by job,
kind, user or command, as rows and as a drawing.
"""
