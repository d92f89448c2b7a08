#!/usr/bin/env python3
"""Serve repositories the way the Hugging Face Hub does, on this machine, for tests.

    scripts/hub_server.py ROOT [--token TOKEN | --gated] [--cut NAME:TIMES] [--refuse NAME:TIMES] [--pause SECONDS] [--log FILE]

Stage:  tests; nothing in the crate depends on it.
In:     ROOT, with a folder ORG/NAME/REVISION for every revision of every repository (a / in a revision is written %2F).
        --token: every repository is private, and this token reads it. --gated: lists are public, files are not.
        --cut: so many downloads of the file NAME end in the middle. --refuse: so many get a page that says no in its place.
        --pause: between the pieces of a file.
Out:    one line on stdout, the port on 127.0.0.1 that it listens on; FILE, a line for every request. It ends when its stdin
        does, and so never outlives a test that started it, however that ends.

What is spoken: information on a repository and a revision, trees in pages of two entries, HEAD and GET of files. As on the Hub,
large files (here: all that are no text) are redirected to another host with a signature in the URL, and small ones to another
path. A token that arrives at that other host is answered by 400: it is nobody's there.

Needs Python 3.9 or newer. Exit status 0, 2 for wrong usage.
"""
import argparse, hashlib, json, socket, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

TEXT = {".json", ".md", ".txt", ""}
PAGE = 2
PIECE = 64 * 1024


class Refusal(Exception):
    """An answer that is no success, with the Hub's own code for it."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code = status, code


class Revision:
    """The files of one revision."""

    def __init__(self, folder):
        self.files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
        content = "".join(f"{name} {self.tag(name)}\n" for name in self.files)
        self.commit = hashlib.sha1(f"{folder.name}\n{content}".encode()).hexdigest()

    def tag(self, name):
        return hashlib.sha256(self.files[name].read_bytes()).hexdigest()

    def entries(self):
        """The tree, folders included."""
        folders = {p.as_posix() for name in self.files for p in Path(name).parents if p.as_posix() != "."}
        for name in sorted({*self.files, *folders}):
            if name in folders:
                yield {"type": "directory", "oid": "0" * 40, "size": 0, "path": name}
                continue
            size = self.files[name].stat().st_size
            entry = {"type": "file", "oid": self.tag(name)[:40], "size": size, "path": name}
            if Path(name).suffix not in TEXT:
                entry["lfs"] = {"oid": self.tag(name), "size": size, "pointerSize": 130}
            yield entry


class Hub:
    """What is served, and what goes wrong."""

    def __init__(self, arguments):
        self.root, self.token, self.gated, self.pause = arguments.root, arguments.token, arguments.gated, arguments.pause
        self.lock, self.log = threading.Lock(), arguments.log
        self.faults = {"cut": dict(arguments.cut), "refuse": dict(arguments.refuse)}

    def revision(self, owner, name, revision):
        repository = self.root / owner / name
        if not repository.is_dir():
            raise Refusal(401 if self.token is None else 404, "RepoNotFound", "Repository not found")
        for folder in sorted(repository.iterdir()):
            found = Revision(folder)
            if revision in (unquote(folder.name), found.commit):
                return found
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def fails(self, kind, name):
        """Whether this download of a file is one of those that fail."""
        with self.lock:
            left = self.faults[kind].get(name, 0)
            self.faults[kind][name] = left - 1
            return left > 0

    def note(self, line):
        if self.log:
            with self.lock, open(self.log, "a") as file:
                file.write(line + "\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.hub.note(f"{self.command} {urlsplit(self.path).path}")
        try:
            self.route([unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")])
        except Refusal as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": str(refusal)}
            self.answer(refusal.status, json.dumps({"error": str(refusal)}).encode(), headers)
        except (BrokenPipeError, ConnectionResetError):
            # A client that goes away is its own business.
            self.close_connection = True

    do_HEAD = do_GET

    def route(self, parts):
        if parts[0] == "signed":
            return self.signed(parts[1:])
        self.authorise(is_file=parts[0] != "api" or parts[1] == "resolve-cache")
        if parts[:2] == ["api", "resolve-cache"]:
            return self.small(*parts[3:6], "/".join(parts[6:]))
        if parts[:2] == ["api", "models"]:
            return self.tree(*parts[2:4], parts[5]) if "tree" in parts[4:5] else self.information(*parts[2:4], *parts[5:6])
        if len(parts) > 4 and parts[2] == "resolve":
            return self.resolve(*parts[:2], parts[3], "/".join(parts[4:]))
        raise Refusal(404, "EntryNotFound", f"No such path: {self.path}")

    def authorise(self, is_file):
        hub = self.server.hub
        if hub.token is not None and self.headers["Authorization"] != f"Bearer {hub.token}":
            raise Refusal(401, "RepoNotFound", "Invalid username or password.")
        if hub.gated and is_file:
            raise Refusal(403, "GatedRepo", "Access to this model is restricted and you are not in the authorized list.")

    def information(self, owner, name, revision="main"):
        found = self.server.hub.revision(owner, name, revision)
        siblings = [{"rfilename": file} for file in found.files]
        self.json({"id": f"{owner}/{name}", "sha": found.commit, "siblings": siblings})

    def tree(self, owner, name, revision):
        entries = list(self.server.hub.revision(owner, name, revision).entries())
        first = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        headers = {}
        if first + PAGE < len(entries):
            path = f"/api/models/{owner}/{name}/tree/{quote(revision, safe='')}"
            headers["Link"] = f'<{self.base("127.0.0.1")}{path}?recursive=true&cursor={first + PAGE}>; rel="next"'
        self.json(entries[first : first + PAGE], headers)

    def resolve(self, owner, name, revision, file):
        found = self.server.hub.revision(owner, name, revision)
        if file not in found.files:
            raise Refusal(404, "EntryNotFound", f"Entry not found: {file}")
        tag, size = found.tag(file), found.files[file].stat().st_size
        headers = {"X-Repo-Commit": found.commit, "X-Linked-Size": str(size), "X-Linked-ETag": f'"{tag}"'}
        path = quote(f"{owner}/{name}/{found.commit}/{file}")
        if Path(file).suffix in TEXT:
            return self.answer(307, b"", {**headers, "Location": f"/api/resolve-cache/models/{path}"})
        self.answer(302, b"", {**headers, "Location": f"{self.base('localhost')}/signed/{path}?Signature=very-secret"})

    def small(self, owner, name, commit, file):
        found = self.server.hub.revision(owner, name, commit)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{found.tag(file)}"'}
        self.answer(200, found.files[file].read_bytes(), headers)

    def signed(self, parts):
        (owner, name, commit), file, hub = parts[:3], "/".join(parts[3:]), self.server.hub
        if "Authorization" in self.headers:
            raise Refusal(400, "Token", "a token was sent to another host")
        if hub.fails("refuse", file):
            return self.answer(403, b"<html>the signature has expired</html>", {})
        content = hub.revision(owner, name, commit).files[file].read_bytes()
        self.answer(200, content, {}, len(content) // 2 if hub.fails("cut", file) else None)

    def json(self, value, headers=None):
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def answer(self, status, body, headers, cut=None):
        """Sends an answer; of its body, only what is before `cut`."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for at in range(0, len(body) if cut is None else cut, PIECE):
            self.wfile.write(body[at : min(at + PIECE, len(body) if cut is None else cut)])
            time.sleep(self.server.hub.pause if len(body) > PIECE else 0)
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def base(self, host):
        return f"http://{host}:{self.server.server_port}"

    def log_message(self, *_):
        pass


def fault(text):
    name, times = text.rsplit(":", 1)
    return name, int(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="the folder with the repositories")
    parser.add_argument("--token", help="what reads the repositories, which are private then")
    parser.add_argument("--gated", action="store_true", help="give out lists but no files")
    parser.add_argument("--cut", type=fault, action="append", default=[], help="NAME:TIMES, downloads that end in the middle")
    parser.add_argument("--refuse", type=fault, action="append", default=[], help="NAME:TIMES, downloads that get a page")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between the pieces of a file")
    parser.add_argument("--log", help="a file that gets a line for every request")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = Hub(parser.parse_args())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
