"""One stack in containers, driven as its users drive it: by Compose and the Docker client.

The project, the images and the folder of the secrets have names of their own, so that another
stack on the machine is left alone. Not covered: a second machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from tests import waiting

ROOT = Path(__file__).parents[2]
IMAGES = "answermill-test"

_COMMAND_SECONDS = 900  # the longest builds images
_GRACE_SECONDS = 60
_READY_SECONDS = 300

wait_for = partial(waiting.wait_for, interval=0.5)  # most conditions start a process


def command(*words: str, check: bool = True, **kwargs: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; raise AssertionError with its output if it fails."""
    options = {"capture_output": True, "encoding": "utf-8", "timeout": _COMMAND_SECONDS} | kwargs
    done = subprocess.run(words, check=False, **options)
    if check and done.returncode != 0:
        output = f"{done.stdout or ''}\n{done.stderr or ''}".strip()
        msg = f"{' '.join(words)}: exit status {done.returncode}\n{output[-4000:]}"
        raise AssertionError(msg)
    return done


def docker(*words: str, **kwargs: object) -> str:
    """Run a command of the Docker client that must succeed; return what it printed."""
    return command("docker", *words, **kwargs).stdout.strip()


def compose_words() -> list[str]:
    """Return the words that call Compose: a plug-in of the client, or the old program."""
    plugin = command("docker", "compose", "version", check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    return [shutil.which("docker-compose") or "docker-compose"]


def free_port() -> int:
    """Return a free port of loopback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def faults(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return the faults that `check` printed, by the name of the probe."""
    lines = re.findall(r"^(ok|fault) +(\w+) +(.*)$", done.stdout, re.MULTILINE)
    return {probe: sentence for state, probe, sentence in lines if state == "fault"}


class Project:
    """A stack: its Compose project, and commands on it."""

    def __init__(self, name: str, folder: Path, **environment: str) -> None:
        self.name = name
        self.secrets = folder / "secrets"
        self.environment = {
            "COMPOSE_PROJECT_NAME": name,
            "ANSWERMILL_IMAGE": IMAGES,
            "SECRETS": str(self.secrets),
            "FLOWER_PORT": str(free_port()),
            "WEB_PORT": str(free_port()),
            **environment,
        }
        self._compose = compose_words()

    @property
    def process_environment(self) -> dict[str, str]:
        """What a process that knows this stack has in its environment."""
        return {**os.environ, **self.environment}

    def with_secrets(self, folder: Path) -> Project:
        """Return the same stack as a caller sees it whose secrets are in another folder."""
        folder.mkdir(mode=0o755)
        changed = Project(self.name, folder.parent, **self.environment)
        changed.environment["SECRETS"] = str(folder)
        return changed

    def read(self, secret: str) -> str:
        """Return a secret."""
        return (self.secrets / secret).read_text()

    def write(self, secret: str, text: str) -> None:
        """Put a secret, for the services' users to read."""
        path = self.secrets / secret
        path.write_text(text)
        path.chmod(0o444)

    def make_secrets(self) -> None:
        """Create every password."""
        command("sh", "deploy/secrets", str(self.secrets), cwd=ROOT)

    def compose(self, *words: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
        """Run a command of Compose."""
        return command(*self._compose, *words, cwd=ROOT, env=self.process_environment, **kwargs)

    def script(self, name: str, *words: str) -> None:
        """Run a program of deploy/ on this stack."""
        environment = {**self.process_environment, "COMPOSE": " ".join(self._compose)}
        command("sh", f"deploy/{name}", *words, cwd=ROOT, env=environment)

    def up(self) -> None:
        """Start the stack, and wait until one worker has loaded its model."""
        self.compose("up", "-d")
        self.wait_for_workers(1)

    def scale(self, workers: int) -> None:
        """Scale the service `worker` to that many containers."""
        words = ["--no-deps", "--no-recreate", "--scale", f"worker={workers}", "worker"]
        self.compose("up", "-d", *words)

    def containers(self, service: str) -> list[str]:
        """Return the ids of the service's running containers."""
        return docker(
            "ps",
            "-q",
            "--no-trunc",
            f"--filter=label=com.docker.compose.project={self.name}",
            f"--filter=label=com.docker.compose.service={service}",
            "--filter=label=com.docker.compose.oneoff=False",
        ).split()

    def everything(self) -> list[str]:
        """Return the ids of all containers, including ended ones."""
        return docker(
            "ps", "-aq", "--no-trunc", f"--filter=label=com.docker.compose.project={self.name}"
        ).split()

    def wait_for_log(self, container: str, text: str, seconds: float = 60) -> None:
        """Wait until the log of a container has a text."""

        def log() -> str:
            done = command("docker", "logs", container)
            return done.stdout + done.stderr

        wait_for(lambda: text in log(), seconds, log)

    def wait_for_workers(self, count: int) -> None:
        """Wait until that many workers have loaded their model."""
        containers = self.containers("worker")
        assert len(containers) == count
        for container in containers:
            self.wait_for_log(container, '"model loaded"', _READY_SECONDS)

    def producer(
        self, *words: str, settings: dict[str, object] | None = None, **kwargs: object
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of Answermill in the producer's container."""
        done = self.once("producer", *words, settings=settings, **kwargs)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def once(
        self,
        service: str,
        *words: str,
        settings: dict[str, object] | None = None,
        options: Iterable[str] = (),
        **kwargs: object,
    ) -> subprocess.CompletedProcess[str]:
        """Run a service's image once with other words and settings, until it ends."""
        given = [f"-eANSWERMILL_{name}={value}" for name, value in (settings or {}).items()]
        run = ["run", "--rm", "-T", "--no-deps", *options, *given, service]
        return self.compose(*run, *words, check=False, **kwargs)

    def begin_model(self, *words: str) -> subprocess.Popen[str]:
        """Start a command under `answermill model` in its container."""
        run = ["run", "--rm", "-T", "--no-deps", "--entrypoint", "answermill", "model", "model"]
        return subprocess.Popen(
            [*self._compose, *run, *words],
            cwd=ROOT,
            env=self.process_environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def sql(self, query: str) -> list[list[str]]:
        """Query the database; return its rows as texts."""
        words = ["psql", "-U", "answermill", "-At", "-F", "\t", "-c", query]
        done = self.compose("exec", "-T", "postgres", *words)
        return [line.split("\t") for line in done.stdout.splitlines()]

    def number(self, query: str) -> int:
        """Query the database for one number."""
        ((value,),) = self.sql(query)
        return int(value)

    def answers(self, query: str) -> bool:
        """Return whether the database answers."""
        words = ["psql", "-U", "answermill", "-Atc", query]
        done = self.compose("exec", "-T", "postgres", *words, check=False)
        return done.returncode == 0

    def inspect(self, containers: Iterable[str]) -> list[dict]:
        """Return the documents of `docker inspect` for the containers."""
        return json.loads(docker("inspect", *containers))

    def stop(self) -> None:
        """Stop and remove the containers; keep the volumes."""
        self.compose("down", "-t", str(_GRACE_SECONDS))

    def remove(self) -> None:
        """Remove the containers and the volumes."""
        self.compose("down", "-v", "--remove-orphans", "-t", "5", check=False)
