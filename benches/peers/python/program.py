#!/usr/bin/python3
"""A CGI program by wsgiref's CGIHandler, with its demo."""

from wsgiref.handlers import CGIHandler
from wsgiref.simple_server import demo_app

CGIHandler().run(demo_app)
