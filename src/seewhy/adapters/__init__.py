"""Other libraries' methods as Seewhy methods, and Seewhy methods with their interfaces.

Each adapter imports its library when it is used.
"""
