"""
The names of the lines of the log, for programs that read it.

Each line of the package has one of these, as the field ``event`` that its call gives. A name stays as it is when the
words of its line change. What is not in this table, as Twisted's own lines, is :data:`OTHER`.
"""

from __future__ import annotations

from typing import NamedTuple

#: The name of a line that has none of its own.
OTHER = "other"


class EventKind(NamedTuple):
    """
    What a name stands for.

    :ivar level: how urgent it is: ``info``, ``warn``, ``error`` or ``critical``.
    :ivar fields: which fields may be there, divided by spaces.
    :ivar meaning: for people.
    """

    level: str
    fields: str
    meaning: str


#: The fields, and what they mean. Numbers are numbers in JSON, all else is text.
FIELDS: dict[str, str] = {
    "address": "that is listened on, as ``127.0.0.1:5555``",
    "advice": "what to do",
    "age": "in seconds",
    "asker": "who asked, as the line says it",
    "becomes": "what becomes of a file whose name is taken",
    "broke_off": "why it broke off",
    "bytes": "of all files that were stored or sent",
    "bytes_received": "that came from the client, on the wire; of a tunnel, what it carries",
    "bytes_sent": "that went to it, likewise",
    "client": "who came in at a tunnel",
    "closed": "whether the connection was closed for it, as the line says it",
    "command": "that runs, or to run",
    "count": "how many",
    "cure": "what to do",
    "example": "one of them",
    "failed": "how many files were not",
    "files": "how many files were stored or sent",
    "fingerprint": "of the key",
    "folder": "of the file",
    "grace": "in seconds",
    "how": "whether it was read anew, or can be used again",
    "key": "a public key; of blocked logins, the login or the address",
    "left": "seconds for which what was there before holds",
    "limit": "that is reached",
    "limits": "that hold now",
    "line": "what the line says",
    "lines": "of the file",
    "login": "of the client",
    "more": "how many more, as the line says it",
    "name": "of the file, FIFO or device",
    "names": "of files",
    "number": "of a worker, from 1",
    "options": "of the service",
    "outcome": "how it ended, in one word, see below; of files, how many became what",
    "path": "of the file",
    "pause": "seconds until the next one comes",
    "peer": "where the client is, as ``192.0.2.1:4711``; of a tunnel, whose end it was that ended",
    "pid": "of the process",
    "program": "``sodium`` or ``sodium-tunnel``",
    "ran": "for how many seconds it ran",
    "reason": "why",
    "remedy": "what to do",
    "said": "the last that the command said",
    "seconds": "since the connection began; of what is summed up, in which; else, for how long",
    "size": "for how much",
    "store": "where several servers remember together",
    "user": "as whom the service runs",
    "version": "of the protocol",
    "what": "what it is about",
    "where": "at which place; of sums, from how many addresses",
    "who": "which part",
    "why": "why",
    "wrong": "what is wrong",
}

#: What an end that is over has done.
_TRAFFIC = "seconds bytes_received bytes_sent"

EVENTS: dict[str, EventKind] = {
    # Clients of a server.
    "client_connected": EventKind("info", "peer", "somebody connected, and has yet to log in"),
    "client_admitted": EventKind("info", "peer login version seconds", "a client has logged in"),
    "client_refused": EventKind(
        "info", f"peer login outcome reason {_TRAFFIC}", "somebody was not let in, or never logged in"
    ),
    "client_gone": EventKind(
        "info", f"peer login version outcome reason {_TRAFFIC}", "the connection of a client that was let in is over"
    ),
    "client_joined": EventKind("info", "login where key fingerprint", "a client has used its invitation"),
    # What strangers can cause.
    "limit_reached": EventKind("warn", "limit what", "no more connections are taken; more are turned away"),
    "limit_eased": EventKind("info", "limit what count", "there is room again; so many were turned away"),
    "logins_blocked": EventKind(
        "warn", "what key limit seconds count", "too many logins failed; more are refused unchecked"
    ),
    "logins_unblocked": EventKind("info", "what key count", "logins are checked again; so many were refused"),
    "checks_full": EventKind("warn", "count where login", "too many logins wait to be verified; some give way"),
    "checks_eased": EventKind("info", "count", "no more wait than may; so many gave way"),
    "lines_summed": EventKind(
        "warn", "limit count what seconds where reason", "lines that were too many are counted and not written"
    ),
    # What went wrong with a client here.
    "login_unchecked": EventKind("critical", "peer", "a checker failed; the login was refused"),
    "logout_failed": EventKind("critical", "login", "what a checker does at the end of a login failed"),
    "application_failed": EventKind("critical", "peer", "the application failed; its connection is closed"),
    "producer_failed": EventKind("critical", "", "the application's producer failed"),
    "request_failed": EventKind("critical", "asker closed", "the application failed at a request"),
    # Files.
    "upload_stored": EventKind("info", "login peer outcome", "an upload of version 1 is over"),
    "upload_broken": EventKind("warn", "login peer reason outcome", "an upload of version 1 broke off"),
    "upload_waits": EventKind("info", "login name", "an upload waits for its turn"),
    "upload_not_stored": EventKind("error", "login peer reason", "an upload of version 1 can't be stored"),
    "files_over": EventKind(
        "info", "login peer outcome files bytes failed where broke_off", "files were stored or sent, or listed"
    ),
    "files_broken": EventKind(
        "warn", "login peer outcome files bytes failed where broke_off", "the same, but it broke off"
    ),
    "storage_failed": EventKind("critical", "peer asker", "a mistake in a store, with its traceback"),
    "command_failed": EventKind("error", "path login why said", "the command of --on-stored failed for a file"),
    "stored_callback_failed": EventKind("critical", "", "what is called for stored files failed"),
    # Tunnels.
    "tunnel_opened": EventKind("info", "client where seconds", "a connection is joined with the other side"),
    "tunnel_gone": EventKind("info", f"client peer where outcome reason {_TRAFFIC}", "a joined connection is over"),
    "tunnel_refused": EventKind("info", "peer reason", "a connection was not taken"),
    "tunnel_failed": EventKind("error", "peer where reason", "the other side can't be reached"),
    "server_version": EventKind("info", "where version", "which version of the protocol a server speaks"),
    "server_stopping": EventKind("info", "where count", "the other side is about to stop; so many connections go on"),
    "client_failed": EventKind("error", "where", "a client that reconnects has given up"),
    "client_warning": EventKind("warn", "line", "what a client or an endpoint string was warned of"),
    "retry_policy_failed": EventKind("critical", "", "an application's retry policy failed; the usual one holds"),
    # Files that say who may come in.
    "file_read": EventKind("info", "what path how", "a file that lets clients in was read anew"),
    "file_broken": EventKind("error", "what reason left", "such a file can't be used; what it said before may hold"),
    "file_expired": EventKind("error", "what path grace", "such a file was broken too long: it lets nobody in"),
    "file_failed": EventKind("critical", "what path", "such a file could not be read"),
    "joining_failed": EventKind("warn", "line", "an invitation could not be used"),
    "invitations_unusable": EventKind("warn", "path cure", "no invitation can be used, as the file can't be written"),
    # What is remembered of handshakes.
    "replays_forgotten": EventKind("warn", "limit store", "more handshakes of version 1 than are remembered"),
    "store_down": EventKind("warn", "store why line", "what several servers share can't be asked"),
    "store_back": EventKind("info", "store", "it answers again"),
    "salts_in_memory": EventKind("warn", "path reason", "the database can't be written; memory takes its place"),
    "salts_stored": EventKind("info", "path", "the database can be written again"),
    # The service.
    "listening": EventKind("info", "address", "a place is listened on"),
    "cannot_listen": EventKind(
        "critical", "line", "a place can't be listened on, or workers have no room; the service ends"
    ),
    "serving": EventKind("info", "where becomes size command", "at start: what the service does, and where"),
    "setup_warning": EventKind("warn", "line path lines where user folder", "at start: what may not be meant so"),
    "public_key": EventKind("info", "key fingerprint", "at start: the key of the server"),
    "advice": EventKind("info", "what command", "at start: a command for the other end"),
    "descriptors_limited": EventKind("warn", "count limits advice", "too few file descriptors: limits are lower"),
    "hangup": EventKind("warn", "program", "the terminal of the service has closed, which ends it"),
    "reloaded": EventKind("info", "", "SIGHUP: what files say was read again, and holds for new connections"),
    "reload_failed": EventKind("error", "wrong", "the same, but for what is wrong there: that stays as it was"),
    "reload_crashed": EventKind("critical", "", "the same, and a mistake of the program, with its traceback"),
    "reload_incomplete": EventKind("warn", "program options", "options that take effect at the next start alone"),
    "draining": EventKind("info", "seconds count", "the service stops; what is under way gets so long to finish"),
    "status_listening": EventKind("info", "address", "where metrics, health and the status page are"),
    "status_failed": EventKind("critical", "", "metrics, health or the status page could not be told"),
    "notify_failed": EventKind("warn", "where reason", "systemd can't be told about the service"),
    "companion_failed": EventKind("critical", "who", "what runs beside the service failed"),
    # The processes of --workers.
    "worker_started": EventKind("info", "number count pid", "a worker's process was started"),
    "worker_serves": EventKind("info", "number", "a worker takes connections"),
    "worker_lost": EventKind("warn", "number ran why pause", "a worker has ended; another one takes its place soon"),
    "worker_killed": EventKind("warn", "number", "a worker did not end in time when the service was stopped"),
    "worker_said": EventKind("warn", "number line", "what a worker has written beside the log"),
    "worker_failed": EventKind("error", "number why", "a worker can't be started; that is tried again"),
    "worker_silent": EventKind("critical", "", "a worker can't tell of itself"),
    # What killed servers left.
    "folder_removed": EventKind("info", "path", "a folder of a killed server was removed; nothing in it was of use"),
    "socket_left": EventKind("warn", "path pid", "a socket of a killed server was there; it is made anew"),
    "leftovers_removed": EventKind("warn", "count where age names more", "old unfinished uploads were removed"),
    "leftovers_kept": EventKind("info", "count where", "unfinished uploads wait for their clients"),
    "leftovers_found": EventKind("warn", "count what where example remedy", "files of killed servers are there"),
    "leftovers_unknown": EventKind("warn", "where why", "it can't be seen whether there are unfinished uploads"),
    "database_left": EventKind("info", "path", "the database was not closed; nothing is lost"),
    # The log.
    "logs_reopened": EventKind("info", "path", "the log goes on in the file of that name"),
    "logs_kept": EventKind("error", "path reason", "the log file can't be opened anew; the old one goes on"),
}
