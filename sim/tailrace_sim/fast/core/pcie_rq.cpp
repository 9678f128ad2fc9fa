#include "pcie_rq.hpp"

namespace tailrace {

RqSink::RqSink(Pins &pins, Reporter &reporter, uint64_t seed, uint32_t device)
    : valid_(pins.find("pcie__rq__tvalid")), ready_(pins.find("pcie__rq__tready")),
      last_(pins.find("pcie__rq__tlast")), data_(pins.find("pcie__rq__tdata")),
      keep_(pins.find("pcie__rq__tkeep")), user_(pins.find("pcie__rq__tuser")),
      reporter_(reporter), stall_(seed, Purpose::stall_rq, device), wide_(data_.bits() == 512) {}

void RqSink::drive(uint32_t stall) {
    ready_.flag(!stall_.chance(stall, 256));
}

void RqSink::reset() {
    ready_.flag(false);
    open_ = false;
}

int RqSink::fail(const char *text) {
    reporter_.broken(text);
    open_ = false;
    return 0;
}

// Two TLPs a beat may start, and two end; the end of the n-th piece is the n-th of the ends.
int RqSink::pieces_of_wide(Piece *pieces) {
    const uint8_t *user = user_.bytes();
    const uint32_t framing = bits_of(user, 20, 16);
    const uint32_t starts = framing & 3, ends = (framing >> 6) & 3;
    if (starts == 2 || ends == 2) {
        return fail("rq: the second start or end of a beat without a first");
    }
    int count = 0;
    if (open_) {
        pieces[count++] = {-1, 0, 16, false};
    }
    for (int place = 0; place < 2 && (starts >> place & 1) != 0; ++place) {
        pieces[count++] = {place, 4 * (framing >> (2 + 2 * place) & 3), 16, false};
    }
    if (count == 0) {
        return fail("rq: a beat in which no TLP is");
    }
    const int ended = ends == 0 ? 0 : ends == 1 ? 1 : 2;
    if (ended > count) {
        return fail("rq: a TLP ends that never started");
    }
    if (ended < count - 1) {
        return fail("rq: a TLP starts before the last one ended");
    }
    for (int index = 0; index < ended; ++index) {
        pieces[index].end = (framing >> (8 + 4 * index) & 15) + 1;
        pieces[index].last = true;
    }
    for (int index = 0; index < count; ++index) {
        if (pieces[index].end <= pieces[index].first ||
            (index > 0 && pieces[index].first < pieces[index - 1].end)) {
            return fail("rq: a TLP ends before it starts, or in the next one");
        }
    }
    return count;
}

int RqSink::pieces_of_narrow(Piece *pieces) {
    pieces[0] = {open_ ? -1 : 0, 0, data_.bits() / 32, last_.flag()};
    if (last_.flag()) {
        uint32_t keep = 0;
        keep_.read(&keep);
        pieces[0].end = static_cast<uint32_t>(std::bit_width(keep));
        if (keep == 0 || (keep & (keep + 1)) != 0) {
            return fail("rq: tkeep has holes or is 0");
        }
    }
    return 1;
}

void RqSink::start(int place) {
    const uint8_t *user = user_.bytes();
    const auto shift = static_cast<uint32_t>(place);
    request_.count = 0;
    request_.discontinue = false;
    if (wide_) {
        request_.first_be = bits_of(user, 4 * shift, 4);
        request_.last_be = bits_of(user, 8 + 4 * shift, 4);
        request_.seq_num = bits_of(user, 61 + 6 * shift, 6);
    } else {
        request_.first_be = bits_of(user, 0, 4);
        request_.last_be = bits_of(user, 4, 4);
        request_.seq_num = bits_of(user, 24, 4) | bits_of(user, 60, 2) << 4;
    }
}

// True if the TLP is complete.
bool RqSink::append(const Piece &piece) {
    if (piece.start >= 0) {
        start(piece.start);
    }
    const uint32_t count = piece.end - piece.first;
    if (request_.count + count > request_.dwords.size()) {
        fail("rq: a TLP with more than 4096 bytes");
        return false;
    }
    std::memcpy(request_.dwords.data() + request_.count, data_.bytes() + 4 * piece.first,
                4 * count);
    request_.count += count;
    request_.discontinue |= bits_of(user_.bytes(), wide_ ? 36 : 11, 1) != 0;
    open_ = !piece.last;
    if (piece.last && request_.count < request_header) {
        fail("rq: a TLP shorter than its descriptor");
        return false;
    }
    return piece.last;
}

}  // namespace tailrace
