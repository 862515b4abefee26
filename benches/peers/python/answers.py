"""The comparison's application as a WSGI function, for uWSGI, Granian, gunicorn and wsgiref."""

import functools

HELLO = b"Hello world\n"


@functools.cache
def large():
    return b"0123456789abcde\n" * ((10 << 20) // 16)


def sink(stream):
    length = 0
    while piece := stream.read(65536):
        length += len(piece)
    return str(length).encode()


def application(environ, start_response):
    path = environ.get("REQUEST_URI") or environ["PATH_INFO"]
    if path == "/hello":
        body = HELLO
    elif path == "/64k":
        body = large()[: 64 << 10]
    elif path == "/10m":
        body = large()
    else:
        body = sink(environ["wsgi.input"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
