"""wsgiref's own server on a unix socket: simple.py PATH."""

import socket
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from answers import application


class Handler(WSGIRequestHandler):
    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


class Server(WSGIServer):
    address_family = socket.AF_UNIX
    request_queue_size = 1024

    def server_bind(self):
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "localhost", 80
        self.setup_environ()

    def get_request(self):
        # A unix socket's client has no address, and the handler wants one.
        connection, _ = self.socket.accept()
        return connection, ("unix", 0)


server = Server(sys.argv[1], Handler)
server.set_app(application)
server.serve_forever()
