"""Sockets and files of the kernel to bytes; nothing is decoded here. OSError is translated to our
errors at this edge.
"""
