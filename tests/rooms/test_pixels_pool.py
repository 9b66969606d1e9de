"""The pool of decoders: what it gives, and what a bad frame, a dead worker or a dead node cannot do."""

import asyncio
import os
import random
import signal
from contextlib import asynccontextmanager
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
import pytest_asyncio
from keeping import compressed, keep, native, pidfd

from drimbox.errors import Corrupt, DrimboxError, NotAcceptable, NotFound, TooLarge, Unavailable
from drimbox.model import Span
from drimbox.pixels.decode import decode_frame
from drimbox.pixels.description import PixelDescription
from drimbox.pixels.images import Pixels, _job
from drimbox.pixels.plan import Target
from drimbox.pixels.pool import Pool
from drimbox.pixels.protocol import Caps

HTJ2K, JPEG_2000 = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.90"
EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRAMES = [np.full((16, 16), number, "<u2") + np.arange(16, dtype="<u2") for number in (100, 200, 300)]
STREAMS = [bytes(imagecodecs.htj2k_encode(frame, reversible=True)) for frame in FRAMES]
NATIVE = [frame.tobytes() for frame in FRAMES]


@asynccontextmanager
async def pixels(workers=1, **options):
    room = Pixels(Pool(workers, **options))
    await room.start()
    try:
        yield room
    finally:
        await room.stop()


async def frames(room, kept, numbers):
    return [frame async for frame in room.frames(kept, numbers)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room():
    """One pool for the tests that do it no harm: starting a worker takes a quarter of a second."""
    async with pixels() as room:
        yield room


@pytest.fixture
def kept(tmp_path):
    return keep(tmp_path, compressed(HTJ2K, STREAMS))


async def test_frames_come_in_the_order_asked_and_as_often(room, kept):
    assert await frames(room, kept, [3, 1, 1, 2]) == [NATIVE[2], NATIVE[0], NATIVE[0], NATIVE[1]]


async def test_more_frames_than_one_answer_holds(kept):
    async with pixels(caps=Caps(answer_bytes=600)) as room:
        assert await frames(room, kept, [1, 2, 3] * 50) == NATIVE * 50


async def test_a_frame_that_is_not_there_is_not_found(room, kept):
    with pytest.raises(NotFound):
        await frames(room, kept, [4])


async def test_frames_before_a_bad_one_are_given(room, tmp_path):
    kept = keep(tmp_path, compressed(HTJ2K, [STREAMS[0], STREAMS[1][:40] + bytes(60), STREAMS[2]]))
    given = []
    with pytest.raises(NotAcceptable):
        async for frame in room.frames(kept, [1, 2, 3]):
            given.append(frame)
    assert given == NATIVE[:1]
    assert await frames(room, kept, [3]) == NATIVE[2:]


async def test_bytes_that_are_not_those_kept_are_corrupt(room, kept):
    first = kept.spans[0]
    wrong = (Span(1, first.offset, first.length, first.crc32 ^ 1), *kept.spans[1:])
    with pytest.raises(Corrupt):
        [f async for f in room.frames(replace(kept, spans=wrong), [1])]


@pytest.mark.parametrize("transfer_syntax", [HTJ2K, BIG_ENDIAN])
async def test_an_instance_inside_a_larger_file_is_read_as_if_alone(room, tmp_path, transfer_syntax):
    pixels = bytes(range(256)) * 2
    content = compressed(HTJ2K, STREAMS) if transfer_syntax == HTJ2K else native(BIG_ENDIAN, pixels)
    alone = keep(tmp_path, content)
    inside = keep(tmp_path, content, "pack", before=b"\xff" * 1001, after=b"\xff" * 999)
    assert await frames(room, inside, [1]) == await frames(room, alone, [1])
    whole = [b"".join([piece async for piece in room.instance(kept)]) for kept in (inside, alone)]
    assert whole[0] == whole[1]


async def test_a_file_that_is_gone_is_not_found(room, kept):
    kept.place.path.unlink()
    with pytest.raises(NotFound):
        await frames(room, kept, [1])


async def test_a_syntax_we_do_not_decode_starts_no_worker(kept):
    async with pixels() as room:
        with pytest.raises(NotAcceptable):
            [f async for f in room.frames(replace(kept, transfer_syntax="1.2.840.10008.1.2.4.102"), [1])]
        assert pids(room) == []


async def test_a_declared_bomb_is_refused_before_decoding(room, tmp_path):
    kept = keep(tmp_path, compressed(HTJ2K, STREAMS[:1], Rows=65535, Columns=65535))
    with pytest.raises(TooLarge):
        await frames(room, kept, [1])


async def test_a_decoder_without_enough_memory_refuses_the_frame_alone(tmp_path):
    picture = np.zeros((4096, 4096), "<u2")
    big = keep(tmp_path, compressed(JPEG_2000, [j2k(picture)], Rows=4096, Columns=4096), "big.dcm")
    small = keep(tmp_path, compressed(HTJ2K, STREAMS))
    async with pixels(caps=Caps(memory_bytes=300 * 2**20)) as room:
        with pytest.raises(NotAcceptable):
            await frames(room, big, [1])
        assert await frames(room, small, [1]) == NATIVE[:1]


async def test_a_decoder_that_does_not_answer_is_killed_and_replaced(kept):
    async with pixels(caps=Caps(job_s=3)) as room:
        await frames(room, kept, [1])
        (before,) = pids(room)
        stop_process(before)
        with pytest.raises(Unavailable):
            await frames(room, kept, [1])
        assert await frames(room, kept, [2]) == NATIVE[1:2]
        assert before not in pids(room)


async def test_a_decoder_that_takes_too_much_processor_is_ended_by_the_kernel(kept, tmp_path):
    noise = np.random.default_rng(1).integers(0, 65536, (1024, 1024), dtype="<u2")
    slow = keep(tmp_path, compressed(JPEG_2000, [j2k(noise)], Rows=1024, Columns=1024), "slow.dcm")
    async with pixels(caps=Caps(cpu_s=1, answer_bytes=2**40)) as room:
        await frames(room, kept, [1])
        (before,) = pids(room)
        endless = _job(slow, "frames", Target(EXPLICIT), [1] * 10_000, [slow.spans] * 10_000)
        with pytest.raises(NotAcceptable):
            await room.pool.run(slow.place, endless)
        assert await frames(room, kept, [2]) == NATIVE[1:2]
        assert before not in pids(room)


async def test_a_decoder_that_crashes_refuses_the_frame_and_is_replaced(kept):
    async with pixels() as room:
        await frames(room, kept, [1])
        (worker,) = room.pool._idle
        stop_process(worker.pid)
        asked = asyncio.create_task(frames(room, kept, [1]))
        while worker.jobs < 2:
            await asyncio.sleep(0)  # until it has the job
        os.kill(worker.pid, signal.SIGSEGV)
        os.kill(worker.pid, signal.SIGCONT)
        with pytest.raises(NotAcceptable):
            await asked
        assert await frames(room, kept, [2]) == NATIVE[1:2]


async def test_a_worker_that_died_while_idle_is_replaced(kept):
    async with pixels() as room:
        await frames(room, kept, [1])
        (before,) = pids(room)
        with pidfd(before) as gone:
            os.kill(before, signal.SIGKILL)
            assert gone.wait()
        assert await frames(room, kept, [2]) == NATIVE[1:2]


async def test_a_worker_is_replaced_after_its_share_of_jobs(kept):
    async with pixels(jobs_per_worker=1) as room:
        await frames(room, kept, [1])
        (before,) = pids(room) or (0,)
        assert await frames(room, kept, [2]) == NATIVE[1:2]
        assert before not in pids(room)


async def test_jobs_beyond_the_queue_are_refused(kept):
    async with pixels(queue=2) as room:
        asked = [asyncio.create_task(frames(room, kept, [number])) for number in (1, 2, 3)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert results[:2] == [NATIVE[:1], NATIVE[1:2]]
        assert isinstance(results[2], Unavailable)


async def test_a_caller_who_gives_up_costs_no_worker(kept):
    async with pixels() as room:
        await frames(room, kept, [1])
        (before,) = pids(room)
        asked = asyncio.create_task(frames(room, kept, [1]))
        await asyncio.sleep(0)  # let it begin
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert await frames(room, kept, [2]) == NATIVE[1:2]
        assert pids(room) == [before]


async def test_a_room_that_is_stopped_refuses_and_leaves_no_process(kept):
    async with pixels(workers=2) as room:
        await frames(room, kept, [1])
        processes = [pidfd(pid) for pid in pids(room)]
    with pytest.raises(Unavailable):
        await frames(room, kept, [1])
    for process in processes:
        with process as gone:
            assert gone.wait()


async def test_damaged_streams_never_cost_more_than_their_frame(room, tmp_path):
    """Two hundred streams with bytes changed: a picture, or a refusal that is a leaf, and the pool goes on."""
    chance = random.Random(20260301)
    streams = []
    for index in range(200):
        stream = bytearray((STREAMS * 67)[index])
        for _ in range(chance.randint(1, 6)):
            stream[chance.randrange(len(stream))] = chance.randrange(256)
        streams.append(bytes(stream))
    kept = keep(tmp_path, compressed(HTJ2K, streams))
    for number in range(1, 201):
        try:
            (frame,) = await frames(room, kept, [number])
            assert len(frame) == 512
        except DrimboxError as refusal:
            assert isinstance(refusal, NotAcceptable | Unavailable)


@pytest.mark.parametrize(
    ("bits", "vr", "stored", "expected"),
    [
        (16, "OW", b"\x01\x02\x03\x04" * 2, b"\x02\x01\x04\x03" * 2),
        (32, "OW", b"\x01\x02\x03\x04" * 4, b"\x04\x03\x02\x01" * 4),
        (8, "OB", b"\x01\x02\x03\x04", b"\x01\x02\x03\x04"),
        (8, "OW", b"\x02\x01\x04\x03", b"\x01\x02\x03\x04"),
    ],
)
async def test_big_endian_words_are_turned_round(room, tmp_path, bits, vr, stored, expected):
    sizes = {"Rows": 2, "Columns": 2, "BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1}
    kept = keep(tmp_path, native(BIG_ENDIAN, stored, vr, **sizes))
    assert await frames(room, kept, [1]) == [expected]


async def test_an_odd_big_endian_frame_of_bytes_in_words_takes_the_byte_beside_it(room, tmp_path):
    sizes = {"Rows": 1, "Columns": 3, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "NumberOfFrames": 2}
    kept = keep(tmp_path, native(BIG_ENDIAN, b"\x02\x01\x04\x03\x06\x05", "OW", **sizes))
    assert await frames(room, kept, [1, 2]) == [b"\x01\x02\x03", b"\x04\x05\x06"]


async def test_frames_of_single_bits_are_cut_at_the_bit(room, tmp_path):
    # Three frames of 3 x 1: 101, 011, 110, lowest bit first: 0b11_110_101 and 0b0.
    sizes = {"Rows": 1, "Columns": 3, "BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "NumberOfFrames": 3}
    kept = keep(tmp_path, native(EXPLICIT, bytes([0b11110101, 0b0]), "OB", **sizes))
    assert kept.spans == ()
    assert await frames(room, kept, [1, 2, 3]) == [b"\x05", b"\x06", b"\x03"]


async def test_fewer_native_pixels_than_declared_are_refused(room, tmp_path):
    kept = keep(tmp_path, native(BIG_ENDIAN, bytes(100)))
    with pytest.raises(NotAcceptable):
        await frames(room, kept, [1])


async def test_identical_requests_at_the_same_time_are_one_job(kept):
    async with pixels() as room:
        await frames(room, kept, [2])
        (worker,) = room.pool._idle
        before = worker.jobs
        answers = await asyncio.gather(*(frames(room, kept, [1]) for _ in range(20)))
        assert answers == [NATIVE[:1]] * 20
        assert worker.jobs == before + 1


async def test_the_first_frame_leaves_before_the_last_is_made(tmp_path):
    kept = keep(tmp_path, compressed(HTJ2K, STREAMS * 100))
    async with pixels(workers=2, caps=Caps(answer_bytes=600)) as room:
        given = room.frames(kept, range(1, 301), "1.2.840.10008.1.2.4.80")
        first = await anext(given)
        assert np.array_equal(imagecodecs.jpegls_decode(first), FRAMES[0])
        assert sum(worker.jobs for worker in room.pool._idle) <= 3
        rest = [frame async for frame in given]
        assert [bytes(imagecodecs.jpegls_decode(frame)) for frame in rest] == (NATIVE * 100)[1:]


async def test_many_callers_of_many_encoders_get_their_own_pictures(kept):
    """Two workers, each with one thread: no encoder is ever called by two."""
    syntaxes = [f"1.2.840.10008.1.2.{n}" for n in ("5", "4.70", "4.80", "4.90", "4.201", "4.202")]
    async with pixels(workers=2) as room:

        async def ask(syntax, number):
            (stream,) = [frame async for frame in room.frames(kept, [number], syntax)]
            d = PixelDescription(16, 16, 1, 16, 16, 0, "MONOCHROME2", 0, 1)
            return decode_frame(stream, syntax, d)

        asked = [(syntax, number) for syntax in syntaxes for number in (1, 2, 3)] * 3
        got = await asyncio.gather(*(ask(*one) for one in asked))
        assert got == [NATIVE[number - 1] for _, number in asked]


def j2k(picture):
    return bytes(imagecodecs.jpeg2k_encode(picture, level=0, reversible=True, codecformat="j2k"))


def pids(room):
    return [worker.pid for worker in room.pool._idle]


def stop_process(pid):
    """Return once it has stopped: a signal alone may come after the next job."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
