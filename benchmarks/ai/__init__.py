"""Real models on scarce resources: what use cases 1 and 2 take, and what of it is OTTER's own.

    answers      use case 1: the first answer, warm ones, and what OTTER adds to models and links
    memory       use case 1: what an idle module takes beyond its framework and model
    turns        `net.lease()`: shares by weight, another share, what a turn costs
    repeat       use case 1 again and again: the same latencies, the same packets lost
    first        a fresh clone to a spoken answer
    digits       use case 2: how good its models are, and whose
    use_case     runs use case 1 (knows: otterctl)
    accounts     where a query's time went (pure)

All run as processes, by the machine's own agent, whose store keeps what was built. The queries'
times are those of `otterctl trace`.
"""
