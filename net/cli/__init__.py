"""`python -m net send|recv|ping|bench`: try streams by hand, also inside a module.

main.py      the words of the command line     (imports no numpy: help is quick)
work.py      runs one command: Ctrl-C, errors, exit status
recv.py      listens, shows what arrives, answers ping and bench
echo.py      … which is this
asking.py    the other end of it
send.py, ping.py, bench.py, shown.py (values as text)
"""
