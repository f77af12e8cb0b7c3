"""The page: what the cameras see, how they stand and what happened, for a browser on the network.

It runs in a process of its own, so that neither a fault in it nor a viewer can touch the frames.
The daemon's side (`observer`, `pump`, `journal`, `process`) sends what is new through a socket; the
other side (`child`, `app`, `guard`, ...) says nothing back but how many are looking.
"""
