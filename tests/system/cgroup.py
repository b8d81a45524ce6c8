"""A control group with a limit of memory, version 1 or 2. Needs the right to make one: usually root's."""
import os

V1 = "/sys/fs/cgroup/memory"


class Cgroup:
    """limit in bytes, page cache included; high: as memory.high, beyond which the kernel slows down and kills nobody. OSError: not allowed
    here, or there are none."""

    def __init__(self, limit, high=False):
        v1 = os.path.isdir(V1)
        if v1 and high:
            raise OSError("control groups of version 1 have no memory.high")
        self.path = os.path.join(V1 if v1 else "/sys/fs/cgroup", f"latentd-test-{os.getpid()}")
        os.mkdir(self.path)
        try:
            with open(os.path.join(self.path, "memory.limit_in_bytes" if v1 else "memory.high" if high else "memory.max"), "w") as f:
                f.write(str(limit))
        except OSError:
            self.close()
            raise

    def wrap(self, args):
        """The command that runs args in it."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', os.path.join(self.path, "cgroup.procs"), *args]

    def close(self):
        """After its last process has ended."""
        os.rmdir(self.path)
