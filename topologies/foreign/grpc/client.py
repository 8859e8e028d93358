"""Calls `otter.Scale/Double` once a second, also of a server that isn't there yet or comes back."""

import sys
import time

import grpc

OPTIONS = [
    ("grpc.max_reconnect_backoff_ms", 1000),  # the default, two minutes, outlasts most experiments
    ("grpc.keepalive_time_ms", 10_000),  # a link that is cut tells nobody: ask
    ("grpc.keepalive_timeout_ms", 5000),
]


def main(target: str) -> None:
    """Call until the process is ended."""
    with grpc.insecure_channel(target, options=OPTIONS) as channel:
        double = channel.unary_unary("/otter.Scale/Double")
        number = 1
        while True:
            try:
                answer = double(str(number).encode(), wait_for_ready=True, timeout=5)
            except grpc.RpcError as error:
                print(f"no answer: {error.code().name}")
                continue
            print(f"twice {number} is {answer.decode()}")
            with open("/work/answers.csv", "a") as file:
                print(number, answer.decode(), sep=",", file=file)
            number += 1
            time.sleep(1)


main(sys.argv[1])
