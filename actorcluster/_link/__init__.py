"""One pipe: frames over a socket, handles, mail.

Runs in: both
"""
