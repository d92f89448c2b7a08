#!/usr/bin/env python3
"""Serve S3 on this machine, for tests: objects live in memory and are gone with the server.

    scripts/s3_server.py --packages target/moto [--install-only]

Stage:  tests; nothing in the crate depends on it.
In:     moto (https://pypi.org/project/moto), installed with pip into PACKAGES if it is not there yet.
Out:    one line on stdout, the port on 127.0.0.1 that it listens on. It ends when its stdin does, and so never outlives
        a test that started it, however that ends. Requests are not checked for signatures.

Needs Python 3.9 or newer with pip. Exit status 0, 1 when moto could not be installed, 2 for wrong usage.
"""
import argparse, os, subprocess, sys, threading

# What serving S3 takes of moto's dependencies: its own list for all services is ten times as long.
REQUIREMENTS = ["moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"]


def install(packages):
    """Installs what is required, once: the list of it is written last."""
    done = os.path.join(packages, "requirements.txt")
    if os.path.exists(done) and open(done).read().split() == REQUIREMENTS:
        return
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"]
    # pip's own remarks belong on stderr: stdout is for the port.
    subprocess.run([*pip, "--target", packages, *REQUIREMENTS], check=True, stdout=sys.stderr)
    with open(done, "w") as file:
        file.write("\n".join(REQUIREMENTS))


def serve(packages):
    sys.path.insert(0, packages)
    # moto speaks as the account of these; any will do.
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
    import logging
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", required=True, help="the folder that moto is installed into")
    parser.add_argument("--install-only", action="store_true", help="do not serve")
    arguments = parser.parse_args()
    try:
        install(arguments.packages)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: moto could not be installed into {arguments.packages}: {error}")
    if not arguments.install_only:
        serve(arguments.packages)


if __name__ == "__main__":
    main()
