"""python3-h2 against an edge: a GET, an echoed POST, and eight streams at once. Prints what it got, as JSON."""
import json
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events

port, host = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.set_alpn_protocols(["h2"])
raw = socket.create_connection(("127.0.0.1", port), timeout=10)
sock = context.wrap_socket(raw, server_hostname=host)
assert sock.selected_alpn_protocol() == "h2"
conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
conn.initiate_connection()
sock.sendall(conn.data_to_send())

answers = {}
waiting = {}


def request(method, path, body=b""):
    stream = conn.get_next_available_stream_id()
    headers = [(":method", method), (":path", path), (":scheme", "https"), (":authority", host)]
    conn.send_headers(stream, headers, end_stream=not body)
    answers[stream] = {"path": path, "status": None, "body": b"", "ended": False}
    if body:
        waiting[stream] = body
    return stream


def pump():
    for stream in list(waiting):
        body = waiting[stream]
        while body:
            size = min(conn.local_flow_control_window(stream), conn.max_outbound_frame_size, len(body))
            if size <= 0:
                break
            conn.send_data(stream, body[:size])
            body = body[size:]
        if body:
            waiting[stream] = body
        else:
            conn.end_stream(stream)
            del waiting[stream]


request("GET", "/python")
request("POST", "/echo", b"e" * 300_000)
for n in range(8):
    request("GET", "/large" if n == 3 else "/part/%d" % n)
while not all(a["ended"] for a in answers.values()):
    pump()
    sock.sendall(conn.data_to_send())
    data = sock.recv(65536)
    if not data:
        break
    for event in conn.receive_data(data):
        if isinstance(event, h2.events.ResponseReceived):
            answers[event.stream_id]["status"] = int(dict(event.headers)[":status"])
        elif isinstance(event, h2.events.DataReceived):
            answers[event.stream_id]["body"] += event.data
            conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
            answers[event.stream_id]["ended"] = True
conn.close_connection()
sock.sendall(conn.data_to_send())
print(json.dumps([[a["path"], a["status"], len(a["body"])] for a in answers.values()]))
