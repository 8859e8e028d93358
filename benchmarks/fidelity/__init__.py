"""How exactly links do what is asked, and at what cost: `make bench-links`.

__main__   runs the cases of a driver, prints the table, writes page, figures and pictures
probes     sends packets, takes the times of their arrival
delay, rate (with tcp), cells, chance, over_time, cost
           … the cases: each gives rows and panels
page       what is written
"""
