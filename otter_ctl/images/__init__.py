"""Images of a mesh on several machines: made once per kind of machine, sent where they lack.

choosing.py   who makes what, and who sends it to whom (pure)
calls.py      what agents are asked for
sending.py    one image to one machine, over any number of cuts
delivering.py all that an apply needs
"""
