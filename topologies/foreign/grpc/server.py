"""A gRPC server with one method, `otter.Scale/Double`, over bytes instead of generated messages."""

from concurrent import futures

import grpc


def double(request: bytes, context: grpc.ServicerContext) -> bytes:
    """Twice the number, in decimal digits."""
    number = int(request)
    print(f"{context.peer()} asks for {number} twice")
    return str(2 * number).encode()


def main() -> None:
    """Serve until the process is ended."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    method = grpc.unary_unary_rpc_method_handler(double)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("otter.Scale", {"Double": method}),)
    )
    server.add_insecure_port("0.0.0.0:50051")  # all addresses: the module's isn't known here
    server.start()
    server.wait_for_termination()


main()
