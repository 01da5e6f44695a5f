# A disk with a volatile write cache, as a plugin for nbdkit's python. Writes are acknowledged at once and kept in memory
# until a flush. At a power cut each cached sector survives with probability one half, in any order, and every later
# operation fails. With lie=1 and from the creation of PATH.lie on, a flush is acknowledged and not made, and the cut loses
# the complete cache: losing half of it would destroy the file system, and missing data could not be detected.
#
#   nbdkit -f -U SOCKET python volatile_disk.py file=IMAGE cut=PATH seed=N lie=0|1       creating PATH cuts the power
import errno
import os
import random
import threading

import nbdkit

API_VERSION = 2
SECTOR = 512

settings = {"file": None, "cut": None, "seed": "1", "lie": "0"}
lock = threading.Lock()
disk = None
cache = {}
is_dead = False


def config(key, value):
    settings[key] = value


def config_complete():
    global disk
    disk = os.open(settings["file"], os.O_RDWR)
    threading.Thread(target=wait_for_cut, daemon=True).start()


def thread_model():
    return nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS


def open(readonly):
    return 1


def get_size(handle):
    return os.fstat(disk).st_size


def block_size(handle):
    return (SECTOR, 4096, 32 << 20)


def can_flush(handle):
    return True


def can_fua(handle):
    return nbdkit.FUA_NATIVE


def wait_for_cut():
    pause = threading.Event()
    while not os.path.exists(settings["cut"]):
        pause.wait(0.005)
    cut()


def cut():
    global is_dead
    with lock:
        is_dead = True
        chance = random.Random(int(settings["seed"]))
        kept = [] if lies() else [at for at in sorted(cache) if chance.random() < 0.5]
        write_out(kept)
        os.fsync(disk)
        cache.clear()
    os.rename(settings["cut"], settings["cut"] + ".done")


def lies():
    return settings["lie"] == "1" and os.path.exists(settings["cut"] + ".lie")


def write_out(sectors):
    for at in sectors:
        os.pwrite(disk, cache[at], at * SECTOR)


def check_alive():
    if is_dead:
        nbdkit.set_error(errno.EIO)
        raise RuntimeError("the power is off")


def pread(handle, buffer, offset, flags):
    with lock:
        check_alive()
        buffer[:] = os.pread(disk, len(buffer), offset)
        first = offset // SECTOR
        for idx in range(len(buffer) // SECTOR):
            sector = cache.get(first + idx)
            if sector is not None:
                buffer[idx * SECTOR:(idx + 1) * SECTOR] = sector


def pwrite(handle, buffer, offset, flags):
    with lock:
        check_alive()
        first = offset // SECTOR
        for idx in range(len(buffer) // SECTOR):
            cache[first + idx] = bytes(buffer[idx * SECTOR:(idx + 1) * SECTOR])
        if flags & nbdkit.FLAG_FUA:
            flush_cache()


def flush(handle, flags):
    with lock:
        check_alive()
        flush_cache()


def flush_cache():
    if lies():
        return
    write_out(sorted(cache))
    cache.clear()
