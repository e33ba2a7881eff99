#!/usr/bin/python3
"""notes: keeps short texts in PostgreSQL, over HTTP.

GET /notes          the newest notes, as JSON
POST /notes         adds the body, UTF-8 text, as a note
DELETE /notes/<id>  removes one
GET /health         "ok" when the database answers

Listens on 127.0.0.1:8000 or on the port given as the only argument: a proxy belongs in front of it.
"""

import json
import re
import signal
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2
from psycopg2.pool import PoolError, ThreadedConnectionPool

MAX_BODY = 16 * 1024
MAX_REQUESTS = 16
NEWEST = 100

SCHEMA = """
CREATE TABLE IF NOT EXISTS note (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made timestamptz NOT NULL DEFAULT now(),
    text text NOT NULL CHECK (text <> '')
)
"""


class Database:
    """The notes, by a few connections over the local socket."""

    def __init__(self):
        self.pool = ThreadedConnectionPool(1, MAX_REQUESTS, dbname="notes", connect_timeout=5)
        self.query(SCHEMA)

    def query(self, sql, values=()):
        """Runs one statement in a transaction of its own and returns its rows."""
        connection = self.pool.getconn()
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetchall() if cursor.description else cursor.rowcount
        finally:
            # A connection that the server has ended is closed here, and the pool opens another.
            self.pool.putconn(connection, close=bool(connection.closed))


class Server(ThreadingHTTPServer):
    """Serves each connection in a thread, a limited number at a time."""

    daemon_threads = False
    request_queue_size = 64

    def __init__(self, address, database):
        self.database = database
        self.slots = threading.BoundedSemaphore(MAX_REQUESTS)
        super().__init__(address, Handler)

    def process_request(self, request, client_address):
        # Waiting here leaves further clients in the kernel's queue.
        self.slots.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()


class Handler(BaseHTTPRequestHandler):
    """One request; HTTP/1.0, so one a connection."""

    server_version = "notes"
    sys_version = ""
    timeout = 10

    def do_GET(self):
        self.respond(self.get)

    def do_POST(self):
        self.respond(self.post)

    def do_DELETE(self):
        self.respond(self.delete)

    def respond(self, method):
        """Calls `method` and sends what it returns: a status, and text or a value for JSON."""
        try:
            status, content = method()
        except (psycopg2.OperationalError, psycopg2.InterfaceError, PoolError) as error:
            self.log_error("database: %s", str(error).strip())
            status, content = HTTPStatus.SERVICE_UNAVAILABLE, "the database does not answer\n"
        if isinstance(content, str):
            kind, body = "text/plain; charset=utf-8", content.encode()
        else:
            kind, body = "application/json", (json.dumps(content) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def get(self):
        if self.path == "/health":
            self.server.database.query("SELECT 1 FROM note LIMIT 1")
            return HTTPStatus.OK, "ok\n"
        if self.path != "/notes":
            return HTTPStatus.NOT_FOUND, "not found\n"
        rows = self.server.database.query("SELECT id, made, text FROM note ORDER BY id DESC LIMIT %s", (NEWEST,))
        return HTTPStatus.OK, [{"id": n, "made": made.isoformat(), "text": text} for n, made, text in rows]

    def post(self):
        if self.path != "/notes":
            return HTTPStatus.NOT_FOUND, "not found\n"
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,9}", length):
            return HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing\n"
        if int(length) > MAX_BODY:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a note has at most {MAX_BODY} bytes\n"
        try:
            text = self.rfile.read(int(length)).decode().strip()
        except UnicodeDecodeError:
            return HTTPStatus.BAD_REQUEST, "a note is UTF-8 text\n"
        if not text or "\0" in text:
            return HTTPStatus.BAD_REQUEST, "a note is text without NUL, and not empty\n"
        [(number,)] = self.server.database.query("INSERT INTO note (text) VALUES (%s) RETURNING id", (text,))
        return HTTPStatus.CREATED, {"id": number}

    def delete(self):
        match = re.fullmatch(r"/notes/([0-9]{1,18})", self.path)
        if match and self.server.database.query("DELETE FROM note WHERE id = %s", (int(match[1]),)):
            return HTTPStatus.OK, {"id": int(match[1])}
        return HTTPStatus.NOT_FOUND, "not found\n"


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    server = Server(("127.0.0.1", port), Database())
    # shutdown() waits for serve_forever(), which runs in this thread: it must be called from another.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    # Leaving the server waits for the requests at hand; then their connections can go.
    with server:
        server.serve_forever()
    server.database.pool.closeall()


if __name__ == "__main__":
    main()
