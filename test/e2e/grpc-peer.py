"""gRPC in Python, without generated code: bytes in, bytes out.

serve                      answers on a free loopback port and prints it
call PORT NAME CA          calls what `serve` and grpc-servers.ts offer; prints one JSON object
"""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

LARGE = 3_000_000
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

cancelled = 0
lock = threading.Lock()


def unary(request, context):
    asked = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-initial", asked.get("x-asked", "nothing")),))
    context.set_trailing_metadata((("x-trailing", str(len(request))), ("x-raw-bin", bytes([0, 255, 13, 10]))))
    return request


def repeat(request, context):
    count, size = (int(part) for part in request.decode().split(":"))
    for index in range(count):
        yield bytes([index % 256]) * size


def total(requests, context):
    count = size = 0
    for request in requests:
        count += 1
        size += len(request)
    return f"{count}:{size}".encode()


def chat(requests, context):
    for request in requests:
        yield request


def fail(request, context):
    context.set_trailing_metadata((("x-why", "gone"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: é")


def fail_late(request, context):
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "enough")


def hang(request, context):
    over = threading.Event()

    def ended():
        global cancelled
        with lock:
            cancelled += 1
        over.set()

    context.add_callback(ended)
    over.wait(20)
    return b""


def count_cancelled(request, context):
    return str(cancelled).encode()


def serve():
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Repeat": grpc.unary_stream_rpc_method_handler(repeat),
        "Total": grpc.stream_unary_rpc_method_handler(total),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
        "Cancelled": grpc.unary_unary_rpc_method_handler(count_cancelled),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=24), options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening {port}", flush=True)
    server.wait_for_termination()


def error_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return {
            "code": error.code().value[0],
            "details": error.details(),
            "trailers": {key: str(value) for key, value in error.trailing_metadata() or () if key.startswith("x-")},
        }
    return None


def call(port, name, ca):
    with open(ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    options = OPTIONS + [("grpc.ssl_target_name_override", name)]
    channel = grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options)
    path = "/test.Echo/"
    found = {}

    answer, info = channel.unary_unary(path + "Unary").with_call(b"hello", metadata=(("x-asked", "by py"),), timeout=20)
    trailing = dict(info.trailing_metadata())
    found["unary"] = {
        "text": answer.decode(),
        "initial": dict(info.initial_metadata()).get("x-initial"),
        "trailing": trailing.get("x-trailing"),
        "raw": list(trailing.get("x-raw-bin", b"")),
        "status": info.code().value[0],
    }
    large = bytes(range(256)) * (LARGE // 256)
    found["large"] = channel.unary_unary(path + "Unary")(large, timeout=20) == large
    found["empty"] = channel.unary_unary(path + "Unary")(b"", timeout=20) == b""
    found["repeat"] = [len(each) for each in channel.unary_stream(path + "Repeat")(b"5:70000", timeout=20)]
    found["none"] = len(list(channel.unary_stream(path + "Repeat")(b"0:0", timeout=20)))
    found["total"] = channel.stream_unary(path + "Total")((b"x" * 50000 for _ in range(20)), timeout=20).decode()

    # Each message is sent only after the one before came back: nothing may be held back on the way.
    turns = threading.Semaphore(1)

    def questions():
        for index in range(10):
            turns.acquire()
            yield f"turn {index}".encode()

    heard = []
    for answer in channel.stream_stream(path + "Chat")(questions(), timeout=20):
        heard.append(answer.decode())
        turns.release()
    found["chat"] = heard

    found["fail"] = error_of(lambda: channel.unary_unary(path + "Fail")(b"", timeout=20))
    late = []
    found["failLate"] = error_of(
        lambda: late.extend(each.decode() for each in channel.unary_stream(path + "FailLate")(b"", timeout=20))
    )
    found["late"] = late
    found["unknown"] = error_of(lambda: channel.unary_unary(path + "Missing")(b"", timeout=20))

    ask = channel.unary_unary(path + "Cancelled")
    before = int(ask(b"", timeout=20))
    found["deadline"] = error_of(lambda: channel.unary_unary(path + "Hang")(b"", timeout=0.3))
    hanging = channel.unary_unary(path + "Hang").future(b"", timeout=20)
    time.sleep(0.2)
    hanging.cancel()
    until = time.monotonic() + 10
    while int(ask(b"", timeout=20)) < before + 2 and time.monotonic() < until:
        time.sleep(0.02)
    found["cancelled"] = int(ask(b"", timeout=20)) - before

    with futures.ThreadPoolExecutor(max_workers=8) as pool:
        stub = channel.unary_unary(path + "Unary")
        bodies = [f"{index}".encode() * (1 + index * 37 % 4000) for index in range(200)]
        found["many"] = list(pool.map(lambda body: stub(body, timeout=20), bodies)) == bodies
    channel.close()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        call(int(sys.argv[2]), sys.argv[3], sys.argv[4])
