"""
``sodiumtwist pipe`` with the programs that it is for: an unmodified sshd, ssh, rsync and tar.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import signal
import socket
import subprocess
import threading

from ..known_servers import know
from ..outside import find_program
from ..processes import PATIENCE, SODIUMTWIST, ProcessTestCase, Running, unmeasured

#: How much passes each way at once, in bytes: more than any of the processes may keep. Where the project is guarded,
#: which runs this once, it is a gigabyte together.
LARGE = 1 << (29 if os.environ.get("CI") else 27)


def without_waiting(errors: bytes) -> str:
    """What a pipe has said, but for the line about a server that keeps it waiting: the machine may be busy."""
    return "".join(line for line in errors.decode().splitlines(True) if "still " not in line)


class PipeProcessTestCase(ProcessTestCase):
    """Has a server with something behind it."""

    def serve(self, backend: int) -> Running:
        """Start a server for what listens at a port of this machine."""
        return self.start_server("--forward", f"tcp:127.0.0.1:{backend}", env=unmeasured())

    @property
    def command(self) -> list[str]:
        """The pipe to the server that was started last, which is known as ``home``."""
        know(self, self.path("user"), home={"endpoint": self.endpoint})
        return [*SODIUMTWIST, "pipe", "home"]

    def start_pipe(self, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self.command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=unmeasured(), cwd=self.directory
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        process.wait(PATIENCE)

    def listen(self) -> socket.socket:
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        return backend

    def accept(self, backend: socket.socket) -> socket.socket:
        accepted, _ = backend.accept()
        accepted.settimeout(PATIENCE)
        self.addCleanup(accepted.close)
        return accepted


class SshTests(PipeProcessTestCase):
    """An sshd that nobody has told of any of this."""

    def start_sshd(self) -> int:
        """Start it as whoever runs the tests, for that user alone."""
        sshd = find_program("sshd", "openssh-server")
        keygen = find_program("ssh-keygen", "openssh-client")
        for name in ("host", "id"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", self.path(name)], check=True)
        with self.listen() as free:
            port: int = free.getsockname()[1]
        lines = [
            f"ListenAddress 127.0.0.1:{port}",
            f"HostKey {self.path('host')}",
            f"AuthorizedKeysFile {self.path('id.pub')}",
            "StrictModes no",
            "PidFile none",
            "UsePAM no",
            "PasswordAuthentication no",
        ]
        self.write("sshd_config", *lines)
        running = self.run_process([sshd, "-D", "-e", "-f", self.path("sshd_config")])
        running.wait_for("Server listening")
        return port

    def write(self, name: str, *lines: str) -> str:
        path = self.path(name)
        with open(path, "w") as file:
            file.writelines(f"{line}\n" for line in lines)
        return path

    def configure_ssh(self) -> list[str]:
        """Return the command that reaches it, through the pipe."""
        ssh = find_program("ssh", "openssh-client")
        with open(self.path("host.pub")) as file:
            known = self.write("known_hosts", f"there {file.read()}")
        config = self.write(
            "ssh_config",
            f"User {pwd.getpwuid(os.getuid()).pw_name}",
            f"IdentityFile {self.path('id')}",
            "IdentitiesOnly yes",
            f"UserKnownHostsFile {known}",
            "BatchMode yes",
            "LogLevel ERROR",
            "ProxyCommand " + " ".join(self.command),
        )
        return [ssh, "-F", config]

    def run_in(self, command: list[str], stdin: bytes = b"") -> bytes:
        """Run a program; it must say nothing on standard error."""
        done = subprocess.run(command, input=stdin, capture_output=True, cwd=self.directory, timeout=PATIENCE)
        self.assertEqual((done.returncode, without_waiting(done.stderr)), (0, ""), done)
        return done.stdout

    def test_ssh_rsync_and_tar(self) -> None:
        """Commands, files and a stream get through, and a session that is over leaves no line behind."""
        rsync = find_program("rsync", "rsync")
        server = self.serve(self.start_sshd())
        ssh = self.configure_ssh()
        os.mkdir(self.path("here"))
        self.make_file("here/large", 3_000_000)
        self.make_file("here/small", 3)
        self.assertEqual(
            self.run_in([rsync, "-a", "-e", " ".join(ssh), self.path("here") + "/", f"there:{self.path('there')}"]), b""
        )
        for name in ("large", "small"):
            self.assertEqual(self.read(f"there/{name}"), self.read(f"here/{name}"))
        tar = self.run_in(["tar", "-C", self.directory, "-cf", "-", "here"])
        self.assertEqual(self.run_in([*ssh, "there", "tar tf - | sort"], tar), b"here/\nhere/large\nhere/small\n")
        server.stop()
        told = server.output + server.errors
        self.assertFalse([line for line in told if "Traceback" in line or "was cut" in line], told)


class StandardStreamTests(PipeProcessTestCase):
    """What standard input and output may be."""

    def test_both_ways_at_once(self) -> None:
        """Both directions, much larger than the memory of the processes, and each ends by itself."""
        backend = self.listen()
        server = self.serve(backend.getsockname()[1])
        pipe = self.start_pipe(subprocess.PIPE, subprocess.PIPE)
        accepted = self.accept(backend)
        assert pipe.stdin is not None and pipe.stdout is not None
        block = os.urandom(1 << 20)
        digests: dict[str, str] = {}

        def write(send: object, end: object) -> None:
            for number in range(LARGE >> 20):
                send(number.to_bytes(8, "big") + block[8:])  # type: ignore[operator]
            end()  # type: ignore[operator]

        def read(name: str, receive: object) -> None:
            digest = hashlib.sha256()
            while data := receive(1 << 20):  # type: ignore[operator]
                digest.update(data)
            digests[name] = digest.hexdigest()

        threads = [
            threading.Thread(target=write, args=(pipe.stdin.write, pipe.stdin.close)),
            threading.Thread(target=write, args=(accepted.sendall, lambda: accepted.shutdown(socket.SHUT_WR))),
            threading.Thread(target=read, args=("there", accepted.recv)),
            threading.Thread(target=read, args=("here", pipe.stdout.read1)),  # type: ignore[attr-defined]
        ]
        for thread in threads:
            thread.start()
        for thread in threads[:2]:
            thread.join(PATIENCE)
        peak = self.peak_memory(pipe.pid)
        for thread in threads[2:]:
            thread.join(PATIENCE)
        whole = hashlib.sha256()
        for number in range(LARGE >> 20):
            whole.update(number.to_bytes(8, "big") + block[8:])
        self.assertEqual(digests, {"here": whole.hexdigest(), "there": whole.hexdigest()})
        self.assertEqual(pipe.wait(PATIENCE), 0)
        self.assertLess(peak, 100_000_000)
        self.assertLess(server.peak_memory(), 100_000_000)

    def peak_memory(self, pid: int) -> int:
        with open(f"/proc/{pid}/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))

    def test_files_and_signals(self) -> None:
        """
        A file or nothing to read, a file to write to; who reads leaves; and signals, to a pipe whose sides are there,
        and to one whose sides have left.
        """
        backend = self.listen()
        self.serve(backend.getsockname()[1])
        with open(self.make_file("in", 100_000), "rb") as source, open(self.path("out"), "wb") as target:
            whole = self.start_pipe(source.fileno(), target.fileno())
        accepted = self.accept(backend)
        with accepted.makefile("rb") as stream:
            self.assertEqual(stream.read(), self.read("in"))
        accepted.sendall(b"answer")
        accepted.close()
        self.assertEqual(whole.wait(PATIENCE), 0)
        self.assertEqual(self.read("out"), b"answer")

        # At once, for each takes its time to start.
        pipes = [self.start_pipe(subprocess.PIPE, subprocess.PIPE) for _ in range(3)]
        joined = {}
        for pipe, name in zip(pipes, (b"reader", b"user", b"program"), strict=True):
            assert pipe.stdin is not None
            pipe.stdin.write(name)
            pipe.stdin.flush()
        for _ in pipes:
            accepted = self.accept(backend)
            joined[accepted.recv(10)] = accepted
        for name, pipe, status, says in (
            (b"reader", pipes[0], 141, ""),
            (b"user", pipes[1], 128 + signal.SIGINT, "sodiumtwist: interrupted, 4 B sent, 0 B received\n"),
            (b"program", pipes[2], 128 + signal.SIGHUP, ""),
        ):
            assert pipe.stdin is not None and pipe.stdout is not None and pipe.stderr is not None
            if name != b"user":
                pipe.stdout.close()
            if name == b"reader":
                joined[name].sendall(b"x")
            elif name == b"user":
                pipe.send_signal(signal.SIGINT)
            else:
                # Stopped meanwhile: it sees all of it at once. An end long before the signal would be one in order.
                pipe.send_signal(signal.SIGSTOP)
                pipe.stdin.close()
                pipe.send_signal(signal.SIGHUP)
                pipe.send_signal(signal.SIGCONT)
            self.assertEqual((pipe.wait(PATIENCE), without_waiting(pipe.stderr.read())), (status, says))
            # In order, it would look like all of it.
            self.assertRaises(ConnectionResetError, joined[name].recv, 1)

    def test_closed(self) -> None:
        """What is closed at the start is told before anything is connected."""
        self.endpoint = "tcp:127.0.0.1:1"
        for stream, status, says in (
            ("<", 1, "cannot read standard input: standard input is closed"),
            (">", 6, "standard output: it is closed; >/dev/null drops what comes"),
        ):
            done = subprocess.run(
                ["sh", "-c", f'exec "$@" {stream}&-', "sh", *self.command], capture_output=True, timeout=PATIENCE
            )
            self.assertEqual((done.returncode, done.stderr.decode()), (status, f"sodiumtwist: {says}\n"))
