"""What can go wrong with jobs and their queues."""

from tailrace.errors import TailraceError
from tailrace.regs.job_memory import MAX_AAD, MAX_CIPHER, MAX_COPY, MAX_ENTRIES, JobStatus

__all__ = ["BadJob", "JobError", "JobQueueStopped", "JobReset"]

#: What a status means to who submitted the job, and what is to be done.
_ADVICE = {
    JobStatus.OK: "nothing is wrong",
    JobStatus.AUTHENTICATION_FAILED: "the tag is wrong: the message is forged or damaged, or key,"
    " IV or additional data are other ones; drop it",
    JobStatus.KEY_UNKNOWN: "the queue's function has no key at this index; install one (a function"
    " level reset deletes all keys of the function)",
    JobStatus.KEY_KIND: "a GCM key is needed for GCM and an XTS key for XTS; install the right one",
    JobStatus.TAG_LENGTH: "GCM tags have 4, 8 or 12 to 16 bytes; ask for one of those",
    JobStatus.AAD_LENGTH: f"there are at most {MAX_AAD} bytes of additional data; shorten them",
    JobStatus.LENGTH: f"at most {MAX_CIPHER} bytes, for XTS at least 16; cut the message",
    JobStatus.IV_REUSED: "a strict key takes only IVs of 12 bytes, each above the one before it as"
    " a big-endian number; count the IV up, or install a new key",
    JobStatus.SELF_TEST: "the cipher engine's self-test has failed and it refuses to work; run"
    " Cipher.self_test() again, and if that fails too don't use the device",
    JobStatus.BAD_OPCODE: "the device does not have this operation; look at Cipher.shape",
    JobStatus.BAD_LENGTH: "too short or too long for the operation (COPY and CRC32C take 1 to"
    f" {MAX_COPY} bytes, ciphers up to {MAX_CIPHER}, XTS at least 16); cut the job",
    JobStatus.BAD_LIST: f"a list has at most {MAX_ENTRIES} pieces, and its pieces must have as many"
    " bytes as the job; give more memory",
    JobStatus.SOURCE_FAULT: "the source could not be read; its address must be DMA memory of the"
    " host, and the function must be Bus Master",
    JobStatus.DESTINATION_FAULT: "the destination could not be written; it must not go beyond the"
    " last address, and the function must be Bus Master",
    JobStatus.LIST_FAULT: "a list of pieces could not be read; the driver puts it into DMA memory,"
    " so look whether the function is Bus Master",
    JobStatus.DESCRIPTOR_FAULT: "the descriptor could not be read and the queue has stopped; look"
    " whether the function is Bus Master, then reset the queue",
    JobStatus.RESET: "the queue was reset; submit the job again",
    JobStatus.KEY_INDEX: "the key table has no such place (an XTS key begins at a multiple of 4);"
    " let Cipher.install choose one",
    JobStatus.KEY_TAKEN: "the place belongs to another function or to another key; choose another",
    JobStatus.KEY_NOT_THERE: "the function has no key at this index, so there is nothing to delete",
    JobStatus.KEY_SIZE: "no such kind or size of key: AES-128, -192 and -256, XTS without -192",
}


class BadJob(TailraceError, ValueError):
    """What was asked for can't be put into a descriptor, or no device would do it."""


class JobError(TailraceError):
    """The device ended a job with another status than OK.

    Attributes
    ----------
    status : which one
    """

    def __init__(self, status: JobStatus, what: str = "job"):
        self.status = status
        super().__init__(f"{what} ended with {status.name}: {_ADVICE[status]}")


class JobReset(TailraceError):
    """The job was dropped by a reset of its queue; a part of its destination may be written."""


class JobQueueStopped(TailraceError):
    """The queue does not run any more; ``reset`` of the queue brings it back.

    Attributes
    ----------
    cause : what the device's error collector says
    """

    def __init__(self, what: str, cause: str):
        self.cause = cause
        super().__init__(f"{what}: {cause}")
